"""`headwater eval run` from the outside."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from headwater.core.config import validate
from headwater.core.errors import EvalError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, changed_files, is_artifact, read_manifest
from headwater.eval import scoring
from headwater.eval.config import EvalConfig
from headwater.eval.stage import open_eval, run_eval, run_share

pytestmark = pytest.mark.slow

HEADWATER = [sys.executable, "-m", "headwater.core.cli"]


def command(run: RunLayout, tasks: Path, *more: str, names: str = "test_group,test_generate") -> list[str]:
    recipe = run.root / "recipe.yaml"
    recipe.write_text("name: test\neval: {max_gen_tokens: 16, held_out_tokens: 600}\n")
    head = [*HEADWATER, "eval", "run", "--recipe", str(recipe), "--run", str(run.root), "--include", str(tasks)]
    return [*head, "--tasks", names, *more]


def evaluate(run: RunLayout, tasks: Path, *more: str, **kwargs) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(run, tasks, *more, **kwargs), capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, finished_run, test_tasks):
    """A copy of the finished run, evaluated with `--json`; and what that printed."""
    run = RunLayout(tmp_path_factory.mktemp("evaluated") / "run")
    shutil.copytree(finished_run.root, run.root)
    done = evaluate(run, test_tasks, "--json")
    assert done.returncode == 0, done.stderr
    return run, json.loads(done.stdout)


def test_results_say_what_was_measured_and_how(evaluated):
    run, printed = evaluated
    results = json.loads((run.eval / "results.json").read_text())
    assert printed["results"] == results
    assert printed["digest"] == read_manifest(run.eval).digest
    assert results["checkpoint"]["step"] == 20
    assert results["checkpoint"]["weights_digest"] == "weights-20"
    rows = {(row["task"], row["metric"]): row for row in results["tasks"]}
    letters = rows["test_letters", "acc"]
    assert (letters["items"], letters["chance"], letters["few_shot"], letters["truncated"]) == (24, 0.25, 2, 0)
    assert letters["indistinguishable_from_chance"] == (
        letters["interval"]["low"] <= 0.25 <= letters["interval"]["high"]
    )
    assert rows["test_group", "acc"]["group"]
    assert rows["test_generate", "exact_match"]["value"] == 0
    assert rows["test_generate", "exact_match"]["indistinguishable_from_chance"]
    assert any("Indistinguishable from chance" in note and "test_generate" in note for note in results["notes"])
    assert results["software"]["lm-eval"] == "0.4.13"


def test_bits_per_byte_stand_beside_the_unigram_model(evaluated):
    bits = evaluated[1]["results"]["bits_per_byte"]
    assert set(bits["sources"]) == {"code", "web"}
    assert bits["bytes"] == sum(source["bytes"] for source in bits["sources"].values())
    # Random weights know nothing; counts of the same text know a lot.
    assert bits["model"] > bits["unigram"] > 0


def test_samples_hold_every_item(evaluated, test_tasks):
    run, _ = evaluated
    lines = [json.loads(line) for line in (run.eval / "samples" / "test_letters.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(24))
    for line in lines:
        assert len(line["logprobs"]) == 4
        assert line["prediction"] == max(range(4), key=lambda i: line["logprobs"][i])
        assert line["correct"] == float(line["prediction"] == line["target"])
        assert len(line["prompt_sha256"]) == 64
    items = [json.loads(line) for line in (test_tasks / "letters.jsonl").read_text().splitlines()]
    asked = [f"{item['question']}\nAnswer:" for item in items]
    assert [line["question"] for line in lines] == asked, "without the examples before it"
    assert [line["choices"] for line in lines] == [item["choices"] for item in items]
    generated = [json.loads(line) for line in (run.eval / "samples" / "test_generate.jsonl").read_text().splitlines()]
    assert len(generated) == 15
    assert all(isinstance(line["response"], str) and line["logprobs"] is None for line in generated)
    assert all(line["question"] and line["choices"] is None for line in generated)


def test_the_artifact_names_its_parents_and_no_place_or_time(evaluated):
    run, _ = evaluated
    manifest = read_manifest(run.eval)
    assert {parent.role for parent in manifest.parents} == {"checkpoint", "tokenizer", "tokens/code", "tokens/web"}
    assert "timing.json" not in {entry.path for entry in manifest.files}
    for entry in manifest.files:
        assert str(run.root) not in (run.eval / entry.path).read_text()


def test_again_is_up_to_date_and_prints_the_table(evaluated, test_tasks):
    run, _ = evaluated
    before = (run.eval / "manifest.json").read_bytes()
    done = evaluate(run, test_tasks)
    assert done.returncode == 0, done.stderr
    assert (run.eval / "manifest.json").read_bytes() == before
    assert "up to date" in done.stdout.splitlines()[-1]
    assert "indistinguishable from chance" in done.stdout
    assert "95% interval" in done.stdout
    assert "unigram model" in done.stdout


def test_what_an_earlier_version_made_is_made_again_and_says_why(evaluated, test_tasks, tmp_path, build):
    run = RunLayout(tmp_path / "run")
    shutil.copytree(evaluated[0].root, run.root)
    path = run.eval / "results.json"
    results = json.loads(path.read_text()) | {"schema_version": 1}
    shutil.rmtree(run.eval)
    run.eval.mkdir()
    path.write_text(json.dumps(results))
    build.write_artifact(run.eval, "eval", "step-00000020")
    done = evaluate(run, test_tasks)
    assert done.returncode == 0, done.stderr
    assert "was made before samples held their questions" in done.stderr
    assert (run.eval / "manifest.json").read_bytes() == (evaluated[0].eval / "manifest.json").read_bytes()


def test_the_page_of_an_evaluation_is_no_part_of_it(evaluated, test_tasks):
    run, _ = evaluated
    before = read_manifest(run.eval).digest
    told = evaluate(run, test_tasks).stdout.splitlines()[-2]
    assert told == f"every item, and the scores drawn: headwater eval report {run.eval}"
    words = told.partition("headwater ")[2].split()
    done = subprocess.run([*HEADWATER, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert run.eval_page.is_file()
    assert read_manifest(run.eval).digest == before
    assert "up to date" in evaluate(run, test_tasks).stdout.splitlines()[-1]


def test_another_folder_gives_the_same_bytes(evaluated, finished_run, test_tasks, tmp_path):
    run = RunLayout(tmp_path / "elsewhere" / "run")
    shutil.copytree(finished_run.root, run.root)
    assert evaluate(run, test_tasks).returncode == 0
    assert (run.eval / "manifest.json").read_bytes() == (evaluated[0].eval / "manifest.json").read_bytes()


def mark(samples):
    return samples.replace('"prompt_sha256":"', '"prompt_sha256":"mark', 1)


def test_killed_and_repeated_goes_on_with_the_other_tasks(evaluated, finished_run, test_tasks, tmp_path):
    run = RunLayout(tmp_path / "run")
    shutil.copytree(finished_run.root, run.root)
    process = subprocess.Popen(command(run, test_tasks), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    kept = run.eval / "_work" / "outcomes" / "test_letters.json"
    deadline = time.monotonic() + 240
    while not kept.is_file():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not is_artifact(run.eval)
    # A mark in what the killed run finished: it is still there if, and only if, the task was not run again.
    marked = run.eval / "_work" / "samples" / "test_letters.jsonl"
    marked.write_text(mark(marked.read_text()))
    again = evaluate(run, test_tasks)
    assert again.returncode == 0, again.stderr
    samples = (run.eval / "samples" / "test_letters.jsonl").read_text()
    assert samples == mark((evaluated[0].eval / "samples" / "test_letters.jsonl").read_text())
    assert (run.eval / "results.json").read_bytes() == (evaluated[0].eval / "results.json").read_bytes()


def test_checkpoint_limit_and_output_from_the_command_line(evaluated, test_tasks, tmp_path):
    run, _ = evaluated
    more = ["--checkpoint", "last", "--limit", "3", "--output", str(tmp_path / "out"), "eval.bits_per_byte=false"]
    done = evaluate(run, test_tasks, *more, names="test_letters")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["checkpoint"]["step"] == 30
    assert results["tasks"][0]["items"] == 3
    assert results["bits_per_byte"] is None
    assert "no benchmark scores" in done.stdout


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["eval.max_gen_tokns=3"], 2, ["eval.max_gen_tokns", "did you mean max_gen_tokens"]),
        (["eval.limit=0"], 2, ["eval.limit", "greater than or equal to 1"]),
        (["--checkpoint", "99"], 1, ["no finished checkpoint of step 99", "10, 20, 30"]),
        (["--output", "{run}/tokens/web"], 1, ["holds something else", "found:    tokens"]),
        (["--output", "{run}"], 1, ["holds something else", "other files"]),
        (["eval.few_shot=1000"], 2, ["fewer examples than eval.few_shot"]),
        (["--tasks", ","], 2, ["names that are not empty"]),
        (["--checkpoint", "nowhere"], 1, ["there is no checkpoint nowhere"]),
        (["--suite", "ci"], 2, ["both --tasks and --suite"]),
    ],
)
def test_errors_say_what_to_do(evaluated, test_tasks, more, code, words):
    run = evaluated[0]
    done = evaluate(run, test_tasks, *(word.replace("{run}", str(run.root)) for word in more))
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_another_tokenizer_is_refused(evaluated, test_tasks, tmp_path, build):
    run = RunLayout(tmp_path / "run")
    shutil.copytree(evaluated[0].root, run.root)
    path = run.tokenizer / "tokenizer.json"
    path.write_text(path.read_text() + "\n")
    build.write_artifact(run.tokenizer, "tokenizer", "tokenizer")
    done = evaluate(run, test_tasks)
    assert done.returncode == 1
    assert "is not the tokenizer that the checkpoint was trained with" in done.stderr
    # What was measured before is still there.
    assert (run.eval / "manifest.json").read_bytes() == (evaluated[0].eval / "manifest.json").read_bytes()
    assert changed_files(run.eval) == []


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom headwater.eval.cli import eval_group\n"
        "assert CliRunner().invoke(eval_group, ['run', '--help']).exit_code == 0\n"
        "print([m for m in ('torch', 'lm_eval', 'transformers', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_shares_of_several_processes_make_the_same_artifact(own_run, tmp_path):
    config = validate(EvalConfig, {"limit": 2, "max_gen_tokens": 4, "checkpoint": "10", "held_out_tokens": 64}, "eval")
    work = open_eval(own_run, config, output=tmp_path / "shared")
    run_share(own_run, config, work, 1, 2)
    # Killed here, the training comes to this step again: what was finished is still there.
    finished = {path: path.read_bytes() for path in (work / "outcomes").iterdir()}
    assert finished and open_eval(own_run, config, output=tmp_path / "shared") == work
    assert {path: path.read_bytes() for path in (work / "outcomes").iterdir()} == finished
    run_share(own_run, config, work, 0, 2)
    outcomes = {path.stem for path in (work / "outcomes").iterdir()}
    assert outcomes >= {"headwater_mini_mmlu", "headwater_mini_gsm8k"}
    shared = run_eval(own_run, config, output=tmp_path / "shared")
    alone = run_eval(own_run, config, output=tmp_path / "alone")
    assert {f.path: f.sha256 for f in shared.manifest.files} == {f.path: f.sha256 for f in alone.manifest.files}
    assert open_eval(own_run, config, output=tmp_path / "shared") is None


def test_bfloat16_is_asked_for_and_said(own_run, tmp_path):
    found = {}
    for precision in ("float32", "bfloat16"):
        config = validate(EvalConfig, {"limit": 4, "tasks": ["headwater_mini_mmlu"], "checkpoint": "10",
                                       "held_out_tokens": 64, "precision": precision}, "eval")  # fmt: skip
        results = run_eval(own_run, config, output=tmp_path / precision).results
        path = tmp_path / precision / "samples" / "headwater_mini_mmlu.jsonl"
        lines = [json.loads(line)["logprobs"] for line in path.read_text().splitlines()]
        found[precision] = np.array([*np.ravel(lines), results.bits_per_byte.model])
        assert any("Computed in bfloat16" in note for note in results.notes) == (precision == "bfloat16")
    assert 0 < np.abs(found["float32"] - found["bfloat16"]).max() < 0.2


def test_work_of_another_stage_is_refused_and_left(own_run, tmp_path):
    config = validate(EvalConfig, {"tasks": []}, "eval")
    for kind in ("documents", "eval"):
        ArtifactWriter(tmp_path / kind, kind=kind, name="x", producer="test 0", config={}).open_work()
        (tmp_path / kind / "_work" / "hours").write_text("of work")
    with pytest.raises(EvalError, match="holds something else") as told:
        run_eval(own_run, config, output=tmp_path / "documents")
    assert "unfinished work on an artifact of kind documents" in str(told.value)
    assert (tmp_path / "documents" / "_work" / "hours").read_text() == "of work"
    assert run_eval(own_run, config, output=tmp_path / "eval").fresh
    # Killed before the work had its mark, and killed while it got it.
    for name in ("early", "torn"):
        (tmp_path / name / "_work").mkdir(parents=True)
    (tmp_path / "torn" / "_work" / ".key.17.tmp").write_text("ev")
    assert all(run_eval(own_run, config, output=tmp_path / name).fresh for name in ("early", "torn"))


def test_bits_per_byte_go_on_after_a_kill_with_the_same_bytes(finished_run, tmp_path, monkeypatch):
    settings = {"tasks": [], "batch_tokens": 128, "held_out_tokens": 4000}
    config = validate(EvalConfig, settings, "eval")
    alone = run_eval(finished_run, config, output=tmp_path / "alone")
    program = (
        "import json, sys; from pathlib import Path; from headwater.core.layout import RunLayout\n"
        "from headwater.eval.config import EvalConfig; from headwater.eval.stage import run_eval\n"
        "config = EvalConfig.model_validate(json.loads(sys.argv[2]))\n"
        "run_eval(RunLayout(sys.argv[1]), config, output=Path(sys.argv[3]))\n"
    )
    output = tmp_path / "killed"
    words = [sys.executable, "-c", program, str(finished_run.root), json.dumps(settings), str(output)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 500

    def kept():
        return sum(len(path.read_bytes().splitlines()) for path in (output / "_work" / "answers").glob("*.jsonl"))

    while not (output / "_work" / "answers").is_dir() or kept() < 3:
        with suppress(subprocess.TimeoutExpired):  # looking all the time would take the processor from it
            process.wait(0.02)
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not is_artifact(output)
    before, asked, inner = kept(), [], scoring._score_batch

    def counted(*arguments):
        asked.append(arguments[-1] is not None)
        return inner(*arguments)

    monkeypatch.setattr(scoring, "_score_batch", counted)
    run_eval(finished_run, config, output=output)
    assert before - 1 <= sum(asked) <= before < len(asked)  # a line may have been torn
    assert (output / "results.json").read_bytes() == (alone.folder / "results.json").read_bytes()
