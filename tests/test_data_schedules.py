"""The recipes of data schedules: valid, comparable, and each of them trains on real text."""

import json
import os
from pathlib import Path

import pytest
import yaml

from headwater.core.config import resolve_recipe
from headwater.core.layout import RunLayout
from headwater.core.line import check_sources
from headwater.core.run import read_run
from headwater.core.sidecar import Sidecar
from headwater.core.verify.report import verify_run

ROOT = Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "recipes").glob("schedule-*.yaml"))
SHARED = ROOT.parent / "shared"
PROSE, MATHS = SHARED / "text" / "tinyshakespeare.txt", SHARED / "eval-data" / "gsm8k"
STEPS = 12


def test_they_differ_in_the_schedule_only(tmp_path):
    plain = {path.stem: yaml.safe_load(path.read_text()) for path in RECIPES}
    assert len(plain) == 5
    for name, content in plain.items():
        check_sources(resolve_recipe(ROOT / "recipes" / f"{name}.yaml", []), RunLayout(tmp_path))
        content["train"].pop("reweighting", None)
        for key in ("name", "mixture", "tokens"):
            del content[key]
        content["documents"]["sources"]["maths"] = ["extract"]
    assert all(content == plain["schedule-static"] for content in plain.values())


def headwater(*arguments):
    from headwater.core import cli

    cli.headwater.main(list(arguments), standalone_mode=False)


@pytest.mark.slow
@pytest.mark.skipif(not (PROSE.is_file() and MATHS.is_dir()), reason="there is no ../shared with the texts")
def test_difficulty_and_re_weighting_go_the_whole_way_from_text_to_verified_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    prose, maths = tmp_path / "prose.txt", tmp_path / "maths.jsonl"
    prose.write_text(PROSE.read_text(encoding="utf-8")[:60_000], encoding="utf-8")
    maths.write_text("".join((MATHS / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:300]))
    model, run = tmp_path / "maths.ngram", tmp_path / "run"
    headwater("data", "model", "train", "ngram", "--text", str(MATHS / "test.jsonl"), "--field", "question",
              "--vocabulary", "500", "--prune", "0", "--out", str(model))  # fmt: skip
    shared = [
        f"sources.prose.uris=[{prose}]", f"sources.maths.uris=[{maths}]", "sources.code.max_files=20",
        f"documents.sources.maths=[extract, {{perplexity: {{model: {model}, max_perplexity: 1.0e+9}}}}]",
        "documents.engine.workers=1", "tokens.workers=1", "tokenizer.vocab_size=512", "train.seq_len=32",
        f"train.steps={STEPS}", "train.validation={every: 6, batches: 4}", "train.checkpoint={every: 6}",
        "train.threads=1",
    ]  # fmt: skip
    for stage in ("collect", "run", "tokenizer", "tokenize"):
        headwater("data", stage, "--recipe", str(ROOT / "recipes/schedule-difficulty.yaml"), "--run", str(run), *shared)
    train = ("train", "run", "--run", str(run), "--recipe")
    headwater(*train, str(ROOT / "recipes/schedule-difficulty.yaml"), *shared)
    layout = RunLayout(run)
    info = read_run(layout.checkpoint(STEPS))
    assert [stage.name for stage in info.stages] == ["easy", "middle", "hard"]
    assert set(info.validation_losses) == {"prose", "code", "reference", *(f"maths-{n}of3" for n in (1, 2, 3))}
    assert verify_run(run).findings == []
    # The same tokens, with weights that follow the loss and this run's losses as the reference.
    losses = tmp_path / "losses.yaml"
    losses.write_text(yaml.safe_dump({name: loss - 3 for name, loss in info.validation_losses.items()}))
    mixture = "mixture={weights: {prose: 1, code: 1, reference: 1, maths-1of3: 1, maths-2of3: 1, maths-3of3: 1}}"
    headwater(*train, str(ROOT / "recipes/schedule-reweighting.yaml"), "--fresh", *shared, mixture,
              f"train.reweighting={{reference: {losses}, every: 4}}")  # fmt: skip
    info = read_run(layout.checkpoint(STEPS))
    assert [stage.name for stage in info.stages] == ["start", "after step 4", "after step 8"]
    assert len({tuple(stage.weights.values()) for stage in info.stages}) == 3
    assert verify_run(run).findings == []
    document = Sidecar(layout.tokens("maths-2of3")).covering(0, 1)[0].id
    capsys.readouterr()
    headwater("trace", "doc", document, "--run", str(run), "--json")
    (found,) = json.loads(capsys.readouterr().out)
    assert found["source"] == "maths" and found["tokens"]["source"] == "maths-2of3"
