"""Evaluation between training steps: the training is the same to the bit, and the scores are those of the command."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from line_runs import ENVIRONMENT, ROOT, digests, headwater

from headwater.core.events import read_events
from headwater.core.layout import RunLayout
from headwater.core.manifest import read_manifest

pytestmark = [pytest.mark.slow, pytest.mark.services]


@pytest.fixture
def untrained(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    for name in ("train", "eval", "report"):
        shutil.rmtree(run / name)
    return run


def evaluations(run):
    return [event for event in read_events(run / "train" / "events.jsonl") if event["kind"] == "eval"]


def test_training_is_the_same_and_so_are_the_scores(tiny_run, untrained):
    recipe = ("--recipe", untrained / "recipe.yaml", "--run", untrained)
    headwater("train", "run", *recipe, "eval.every=8")
    for pattern in ("losses.jsonl", "manifest.json", "*.distcp"):
        assert digests(untrained / "train", pattern) == digests(tiny_run / "train", pattern)
    layout = RunLayout(untrained)
    (event,) = evaluations(untrained)
    assert event["step"] == 8 and event["headwater_mini_mmlu/acc"] >= 0 and event["bits_per_byte"] > 0
    headwater("eval", "run", *recipe, "--checkpoint", "8", "--output", untrained / "alone")
    rows = [json.loads(line) for line in (layout.train / "metrics.jsonl").read_text().splitlines()]
    logged = next(row for row in rows if "headwater_eval_step" in row)
    assert logged["headwater_eval_step"] == 8 == logged["step"]
    assert any(name.startswith('headwater_eval_score{task="') for name in logged)
    again, alone = read_manifest(layout.eval_of(8)), read_manifest(untrained / "alone")
    assert {f.path: f.sha256 for f in again.files} == {f.path: f.sha256 for f in alone.files}
    # What was evaluated is not evaluated again by a watcher.
    told = headwater("eval", "watch", *recipe, "--once", "--json").stdout.splitlines()
    assert {line["step"]: line["up_to_date"] for line in map(json.loads, told)}[8] is True


def test_two_processes_share_the_tasks(untrained):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--",
               "headwater.train", "run", "--recipe", str(untrained / "recipe.yaml"), "--run", str(untrained),
               "train.parallel.dp_replicate=2", "train.micro_batch=2", "eval.every=12"]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT)
    assert result.returncode == 0, result.stderr[-3000:]
    (event,) = evaluations(untrained)
    assert event["step"] == 12 and "error" not in event
    samples = sorted(path.name for path in (RunLayout(untrained).eval_of(12) / "samples").iterdir())
    assert samples[0] == "headwater_mini_gsm8k.jsonl" and len(samples) >= 2


def test_an_evaluation_that_fails_stops_no_training(untrained):
    recipe = ("--recipe", untrained / "recipe.yaml", "--run", untrained)
    result = headwater("train", "run", *recipe, "eval.every=12", "eval.tasks=[mmlu]", f"eval.data_dir={os.devnull}")
    (event,) = evaluations(untrained)
    assert "data folder" in event["error"] and "the training goes on" in result.stderr
    wrong = headwater("train", "run", *recipe, "eval.every=3", "train.steps=13", check=False)
    assert wrong.returncode == 2 and "a multiple of train.checkpoint.every, 4" in wrong.stderr
