"""The whole line on the tiny recipe: the same again, resumable, traceable, verifiable."""

import hashlib
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from line_runs import TINY, digests, headwater, kill, start
from prometheus_client.parser import text_string_to_metric_families

from headwater.core.layout import RunLayout
from headwater.core.line import STAGES
from headwater.core.manifest import MANIFEST, read_manifest
from headwater.core.metrics import TABLE
from headwater.core.verify.report import verify_run

pytestmark = [pytest.mark.slow, pytest.mark.services]

OUTPUTS = {"items": "items", "collect": "raw", "documents": "documents", "tokenizer": "tokenizer", "tokens": "tokens",
           "train": "train", "eval": "eval", "report": "report"}  # fmt: skip


def test_every_stage_left_an_artifact(tiny_run):
    kinds = [read_manifest(path.parent).kind for path in sorted(tiny_run.rglob("manifest.json"))]
    counts = {kind: kinds.count(kind) for kind in set(kinds)}
    assert counts == {"items": 1, "raw": 3, "documents": 1, "tokenizer": 1, "tokens": 3, "training": 1,
                      "checkpoint": 2, "eval": 1, "report": 1}  # fmt: skip
    assert (tiny_run / "report" / "report.html").stat().st_size > 20_000
    # The report reads what the other stages really write: nothing is missing, nothing is of an unknown shape.
    told = json.loads(headwater("report", "--recipe", tiny_run / "recipe.yaml", "--run", tiny_run, "--json").stdout)
    assert told["problems"] == [] and told["artifacts"] == 12 and len(told["stages"]) == len(STAGES) - 1


def test_the_same_again_gives_the_same_bytes(tiny_run, tmp_path):
    headwater("line", "run", TINY, "--run", tmp_path / "second")
    assert digests(tmp_path / "second") == digests(tiny_run)
    for name in ("losses.jsonl", "*.parquet", "*.bin", "*.distcp", "*.warc.gz", "tokenizer.json", "recipe.yaml"):
        found = digests(tiny_run, name)
        assert found and digests(tmp_path / "second", name) == found


def test_another_seed_gives_other_losses(tiny_run, tmp_path):
    run = tmp_path / "seed"
    shutil.copytree(tiny_run, run)
    headwater("line", "run", TINY, "--run", run, "--until", "train", "seed=8", "train.steps=2", check=False)
    headwater("train", "run", "--recipe", run / "recipe.yaml", "--run", run, "--fresh")
    first = (tiny_run / "train" / "losses.jsonl").read_text().splitlines()[0]
    assert (run / "train" / "losses.jsonl").read_text().splitlines()[0] != first


def test_a_second_run_does_nothing_and_a_change_redoes_only_what_depends_on_it(tiny_run, tmp_path):
    run = tmp_path / "again"
    shutil.copytree(tiny_run, run)
    # The page names the folder it was run in, so in a copy the report alone is drawn again.
    kept = [path for path in run.rglob("*") if path.is_file() and path.relative_to(run).parts[0] in OUTPUTS.values()]
    # A manifest's time moves once after a copy: its files are younger than it, so they are hashed again.
    before = {path: path.stat().st_mtime_ns for path in kept if "report" not in path.parts and path.name != MANIFEST}
    result = headwater("line", "run", TINY, "--run", run)
    assert result.stdout.count("up to date") >= len(STAGES) - 1
    assert digests(run) == digests(tiny_run)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    headwater("line", "run", TINY, "--run", run, "eval.limit=2", "report.title=Changed")
    changed = {path.relative_to(run).parts[0] for path, stamp in before.items()
               if not path.exists() or path.stat().st_mtime_ns != stamp}  # fmt: skip
    assert changed == {"eval"}
    assert "Changed" in (run / "report" / "report.html").read_text()


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage.name != "report"], ids=lambda stage: stage.name)
def test_kill_9_in_a_stage_then_the_same_command(stage, tiny_run, tmp_path):
    run = tmp_path / "killed"
    shutil.copytree(tiny_run, run)
    output = run / OUTPUTS[stage.name]
    shutil.rmtree(output)
    process = start(*stage.command, "--recipe", run / "recipe.yaml", "--run", run)
    deadline = time.monotonic() + 120
    # The stage has begun to write: there is something in its folder, and no manifest yet.
    while not any(output.rglob("*")) and process.poll() is None and time.monotonic() < deadline:
        pass
    kill(process)
    assert any(output.rglob("*")), "the stage never began"
    result = headwater(*stage.command, "--recipe", run / "recipe.yaml", "--run", run)
    assert f"{stage.name}:" in result.stdout
    assert digests(output) == digests(tiny_run / OUTPUTS[stage.name])


def test_metrics_are_served_while_it_trains(tiny_run, tmp_path):
    run = tmp_path / "served"
    shutil.copytree(tiny_run, run)
    shutil.rmtree(run / "train")
    recipe = ("--recipe", run / "recipe.yaml", "--run", run)
    process = start("train", "run", *recipe, "--fresh", "train.steps=400", "train.checkpoint.every=400")
    try:
        address, found = None, {}
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and process.poll() is None:
            events = run / "train" / "events.jsonl"
            if address is None and events.is_file():
                rows = [json.loads(line) for line in events.read_text().splitlines() if line.endswith("}")]
                address = next((row["url"] for row in rows if row["kind"] == "metrics"), None)
            if address is not None:
                body = urllib.request.urlopen(address, timeout=10).read().decode()
                found = {sample.name: sample.value for family in text_string_to_metric_families(body)
                         for sample in family.samples}  # fmt: skip
                # Some are told every ten steps, some every ten seconds.
                if found.get("headwater_train_step", 0) >= 11 and "headwater_train_source_loss" in found:
                    break
        for name, metric in TABLE.items():
            # Checkpoints and validations come later in this run, there is one rank, and there are no experts; all else
            # is there by now.
            if (
                metric.stage == "train"
                and "checkpoint" not in name
                and "validation" not in name
                and "slowest_rank" not in name
                and "expert" not in name
                and " GPU" not in metric.help
            ):
                assert (f"{name}_count" if metric.kind == "histogram" else name) in found, name
        assert found["headwater_train_tokens_total"] == found["headwater_train_step"] * 4 * 128
        assert 0 < found["headwater_train_loss"] < 10 and found["headwater_train_grad_norm"] > 0
    finally:
        kill(process)


def test_verify_passes_and_names_one_flipped_byte_of_any_artifact(tiny_run, tmp_path):
    assert headwater("verify", tiny_run).returncode == 0
    run = tmp_path / "flipped"
    shutil.copytree(tiny_run, run)
    files = [path for path in run.rglob("*") if path.is_file() and path.stat().st_size]
    one_a_kind = {(path.relative_to(run).parts[0], path.suffix): path for path in sorted(files)}
    for path in one_a_kind.values():
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        result = verify_run(run)
        path.write_bytes(content)
        assert result.errors, path
        told = json.dumps(result.to_json())
        assert path.relative_to(run).as_posix() in told, (path, told)
    missing = run / "documents" / "part-00000.parquet"
    missing.unlink()
    result = headwater("verify", run, check=False)
    assert result.returncode == 1 and "documents/part-00000.parquet" in result.stdout + result.stderr


def test_trace_walks_from_a_step_to_the_page_and_back(tiny_run):
    layout = RunLayout(tiny_run)
    step = json.loads(headwater("trace", "step", "2", "--run", tiny_run, "--json").stdout)
    document = step["samples"][0]["documents"][0]
    [back] = json.loads(headwater("trace", "doc", document["id"], "--run", tiny_run, "--json").stdout)
    assert back["url"] == document["url"] and (layout.raw(back["source"]) / back["warc_file"]).is_file()
    told = headwater("trace", "doc", document["id"], "--run", tiny_run).stdout
    steps = {step for reading in back["readings"] for step in reading["steps"]}
    assert 2 in steps and "2" in told
    # The walk ends at the record itself: its payload has the hash that the document names.
    command = [sys.executable, "-m", "headwater.core.cli", "trace", "doc", document["id"], "--run", tiny_run, "--raw"]
    record = subprocess.run(command, capture_output=True, check=True).stdout
    payload = record.partition(b"\r\n\r\n")[2] if record.startswith(b"HTTP/") else record
    assert hashlib.sha256(payload).hexdigest() == back["payload_sha256"]
    rows = pq.read_table(layout.documents / "rejected").to_pylist()
    rejected = next(row for row in rows if row["id"])
    told = headwater("trace", "doc", rejected["id"], "--run", tiny_run).stdout
    assert rejected["operator"] in told and rejected["reason"] in told


def planted_site(folder: Path, item: str) -> None:
    """A source tree of real modules and one page that holds an evaluation item."""
    for name in ("json", "email", "http"):
        shutil.copytree(
            Path(json.__file__).parent.parent / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    (folder / "planted.txt").write_text(
        "Notes on puzzles that the team solved last week.\n\n" + item + "\n\nThe end.\n"
    )


@pytest.mark.parametrize("decontaminate", [True, False])
def test_trace_item_names_the_planted_page(tiny_run, tmp_path, decontaminate):
    items = pq.read_table(RunLayout(tiny_run).items / "items.parquet").to_pylist()
    item = next(row for row in items if row["task"] == "headwater_mini_gsm8k")
    planted_site(tmp_path / "site", item["text"])
    value = yaml.safe_load(TINY.read_text())
    value["sources"] = {"notes": {"kind": "tree", "paths": {"notes://team/": str(tmp_path / "site")},
                                  "include": ["*.py", "*.txt"], "date": "2026-01-01T00:00:00Z"}}  # fmt: skip
    value["documents"] = {"sources": {"notes": ["extract", "pii"]}, "validation_ratio": 0.0}
    if not decontaminate:
        value["documents"]["decontaminate"] = None
    value["mixture"] = {"weights": {"notes": 1}, "block": 10}
    value["train"]["validation"] = {"every": 0}
    value["train"]["steps"] = 400
    (tmp_path / "planted.yaml").write_text(yaml.safe_dump(value))
    run = tmp_path / "run"
    headwater("line", "run", tmp_path / "planted.yaml", "--run", run, "--until", "tokens")
    found = json.loads(headwater("trace", "item", item["task"], str(item["index"]), "--run", run, "--json").stdout)
    first = found["documents"][0]
    assert first["url"] == "notes://team/planted.txt"
    if decontaminate:
        assert first["rejection"]["operator"] == "decontaminate" and first["readings"] == []
    else:
        # It was kept, and the steps that will read it come from the order alone: nothing was trained yet.
        assert first["rejection"] is None and found["steps_planned"] == 400
        assert all(step <= 400 for reading in first["readings"] for step in reading["steps"])
        assert first["readings"][0]["steps"]
