"""`headwater train run --profile`, and precision float8."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from train_fixtures import write_recipe

from headwater.core.events import read_events
from headwater.core.manifest import read_manifest
from headwater.train.cli import train
from headwater.train.losses import read_losses

pytestmark = pytest.mark.slow

BRIEF = {"steps": 8, "validation": {"every": 0}, "checkpoint": {"every": 8}}


def arguments(tmp_path: Path, data: Path, *more: str, **train: object) -> list[str]:
    run = tmp_path / "run"
    if not run.exists():
        shutil.copytree(data, run)
    recipe = write_recipe(tmp_path / "recipe.yaml", **{**BRIEF, **train})
    return ["run", "--recipe", str(recipe), "--run", str(run), *more]


def trained(tmp_path: Path, data: Path, *more: str, **options: object) -> Result:
    return CliRunner().invoke(train, arguments(tmp_path, data, *more, **options), catch_exceptions=False)


def start(
    tmp_path: Path, data: Path, *more: str, path: str = "", **options: object
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headwater.train", *arguments(tmp_path, data, *more, **options)]
    path = os.pathsep.join(filter(None, [path, os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})


def test_a_profile_says_where_the_time_of_a_step_goes(tmp_path: Path, data: Path) -> None:
    done = trained(tmp_path, data, "--profile", "2", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)["profile"]
    parts = {part["name"]: part["seconds"] for part in found["parts"]}
    assert list(parts) == [
        "loader", "forward and backward", "gradient norm", "communication", "guard", "update", "figures and logs",
        "checkpoint",
    ]  # fmt: skip
    assert 0.8 * found["step_seconds"] < sum(parts.values()) <= found["step_seconds"]
    assert max(parts, key=lambda name: parts[name]) == "forward and backward"
    assert any("mm" in operator["name"] for operator in found["operators"])
    folder = tmp_path / "run" / "train" / "profile"
    trace = json.loads(gzip.decompress((folder / "rank0.json.gz").read_bytes()))
    names = [event.get("name", "") for event in trace["traceEvents"]]
    assert names.count("step: loader") == 2
    (event,) = [event for event in read_events(tmp_path / "run/train/events.jsonl") if event["kind"] == "profile"]
    assert event["steps"] == 2 and event["step"] == 5  # after three to warm up
    # Fewer steps than were asked for are traced as well.
    fewer = trained(tmp_path, data, "--profile", "9", "--fresh", "--json")
    assert json.loads(fewer.stdout)["profile"]["steps"] == 5
    # The trace is no part of what the run is.
    other = trained(tmp_path, data, "--fresh")
    assert other.exit_code == 0 and "profile" not in other.stdout
    assert read_manifest(tmp_path / "run" / "train").digest == json.loads(done.stdout)["digest"]


def test_a_training_that_ends_before_the_profile_says_so(tmp_path: Path, data: Path) -> None:
    done = trained(tmp_path, data, "--profile", "2", steps=3)
    assert done.exit_code == 0, done.stderr
    assert "no steps were traced: the training ended before" in done.stderr
    again = trained(tmp_path, data, "--profile", "2", steps=3)
    assert "no steps were traced: nothing was trained" in again.stderr


@pytest.mark.network
def test_float8_learns_as_bfloat16_does(tmp_path: Path, data: Path, torchao_path: Path) -> None:
    losses = {}
    for precision in ("bfloat16", "float8"):
        done = start(tmp_path, data, "--fresh", path=str(torchao_path), precision=precision, steps=20)
        assert done.returncode == 0, done.stderr
        losses[precision] = [row["loss"] for row in read_losses(tmp_path / "run/train/losses.jsonl")]
    assert losses["float8"] != losses["bfloat16"]  # it is in use
    assert losses["float8"][-1] < losses["float8"][0] - 0.5
    assert abs(losses["float8"][-1] - losses["bfloat16"][-1]) < 0.1
