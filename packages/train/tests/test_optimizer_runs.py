"""Whole runs with each optimizer, a batch ramp, adaptive clipping and early stopping: resumed, healed, traced."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import optimizer_worker
import pytest
from train_fixtures import write_recipe

from headwater.core import metrics as names
from headwater.core.errors import ConfigError
from headwater.core.events import read_events
from headwater.core.layout import RunLayout
from headwater.core.ramp import RampStage, StepSamples
from headwater.core.run import read_run
from headwater.core.skips import Skips
from headwater.core.trace.steps import trace_step
from headwater.core.trace.training import read_training
from headwater.train.losses import read_losses
from headwater.train.parity.compare import compare
from headwater.train.parity.layouts import LAYOUTS
from headwater.train.processes import Processes
from headwater.train.runner import train

pytestmark = pytest.mark.slow

STEPS = 12
RAMP = [{"batch": 4, "steps": 5}]
SAMPLES = StepSamples(8, [RampStage(batch=4, steps=5)])
CASES: dict[str, dict[str, Any]] = {
    "muon": {
        "optimizer": {"name": "muon", "learning_rate": 0.01}, "schedule": {"name": "inverse_sqrt", "warmup_steps": 2},
        "batch_ramp": RAMP, "adaptive_clip": {"name": "adagc", "warmup_steps": 3}, "z_loss": 1e-4,
        "label_smoothing": 0.1,
    },
    "sgd": {
        "optimizer": {"name": "sgd", "learning_rate": 0.3, "nesterov": True},
        "schedule": {"name": "constant", "warmup_steps": 2}, "adaptive_clip": {"name": "zclip", "warmup_steps": 3},
    },
    "lion": {
        "optimizer": {
            "name": "lion", "learning_rate": 3e-3, "groups": [{"pattern": "tok_embeddings", "lr_scale": 0}],
        },
        "schedule": {"name": "cosine", "warmup_steps": 2},
    },
    "adamw_8bit": {"optimizer": {"name": "adamw_8bit", "learning_rate": 0.01, "block_size": 16}},
    "adafactor": {
        "optimizer": {"name": "adafactor", "learning_rate": 0.05}, "schedule": {"name": "linear", "warmup_steps": 2},
    },
}  # fmt: skip


def recipe_for(path: Path, **section: Any) -> Path:
    checkpoint = {"every": 4, "keep_last": 9, "keep_best": 0, "background": False}
    return write_recipe(path, **{"steps": STEPS, "checkpoint": checkpoint, **section})


@pytest.fixture
def run(tmp_path: Path, data: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "run"))


def bytes_of(run: Path) -> dict[str, bytes]:
    """Losses and the last checkpoint."""
    files = [run / "train" / "losses.jsonl", *sorted(RunLayout(run).checkpoint(STEPS).iterdir())]
    return {file.name: file.read_bytes() for file in files}


NETWORK = {"adamw_8bit": [pytest.mark.network]}


def open_files() -> list[Path]:
    """What this process has open."""
    return [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]


@pytest.fixture(autouse=True)
def _torchao(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("network"):
        request.getfixturevalue("torchao")


@pytest.mark.parametrize("case", [pytest.param(case, marks=NETWORK.get(case, [])) for case in CASES])
def test_it_learns_and_goes_on_to_the_same_bytes(case: str, run: Path, tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path / "recipe.yaml", **CASES[case])
    train(recipe, run)
    assert not [path for path in open_files() if path.is_relative_to(run)], (
        "a process that trains often runs out of them"
    )
    rows = read_losses(run / "train" / "losses.jsonl")
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.2
    metrics = [json.loads(line) for line in (run / "train" / "metrics.jsonl").read_text().splitlines()]
    ratios = {name: value for row in metrics for name, value in row.items() if "update_ratio" in name}
    assert len(ratios) == 5
    assert all((value == 0) == (case == "lion" and "embedding" in name) for name, value in ratios.items())
    if case == "muon":  # whose limit for each parameter clips where no fixed one would
        over = sum(row["grad_norm"] > 1.0 for row in rows[:3])
        clipped = [row[names.TRAIN_CLIPPED_STEPS.name] for row in metrics if names.TRAIN_CLIPPED_STEPS.name in row]
        assert over < clipped[-1] <= over + STEPS - 3 and clipped[2] == over
    whole = bytes_of(run)
    (run / "train" / "manifest.json").unlink()
    for step in (8, STEPS):
        shutil.rmtree(RunLayout(run).checkpoint(step))
    train(recipe, run)
    assert [event["step"] for event in read_events(run / "train" / "events.jsonl") if event["kind"] == "resume"] == [4]
    assert bytes_of(run) == whole


def test_a_ramp_is_followed_healed_and_traced(run: Path, tmp_path: Path, data: Path, trainer_class: Any) -> None:
    """A gradient that is not finite takes a run with Muon back, and it goes on as if its samples had never been.

    That SIGTERM wrote a checkpoint right before changes nothing: it takes the place of none, and is not gone back to.
    """
    section = {"optimizer": {"name": "muon", "learning_rate": 0.01}, "batch_ramp": RAMP}
    guard = {"nonfinite": "rollback", "rollback": {"margin_steps": 2}}
    checkpoint = {"every": 3, "keep_last": 2, "keep_best": 0}
    recipe = recipe_for(tmp_path / "recipe.yaml", guard=guard, checkpoint=checkpoint, **section)
    harmful, passes, step = SAMPLES.consumed(9), trainer_class._forward_backward, trainer_class.train_step

    def poisoned(self: Any, *arguments: Any) -> Any:
        found = passes(self, *arguments)
        read = self.dataloader.skips.indices(range(SAMPLES.consumed(self.step - 1), SAMPLES.consumed(self.step)))
        if harmful in read:
            next(self.model_parts[0].parameters()).grad.mul_(math.nan)
        return found

    def terminated(self: Any, *arguments: Any) -> None:
        self.session.terminated = self.step == 7  # heard with the figures, at step 8
        step(self, *arguments)

    trainer_class._forward_backward, trainer_class.train_step = poisoned, terminated
    assert train(recipe, run).state == "terminated"
    trainer_class.train_step = step
    train(recipe, run)
    (event,) = [event for event in read_events(run / "train" / "events.jsonl") if event["kind"] == "rollback"]
    assert (event["to_step"], event["onset"]) == (6, 10)
    window = [SAMPLES.consumed(7), SAMPLES.consumed(12)]
    info = read_run(RunLayout(run).checkpoint(STEPS))
    assert (info.skips, info.samples) == ([window], SAMPLES.consumed(STEPS))

    other = Path(shutil.copytree(data, tmp_path / "other"))
    original = trainer_class.__init__

    def told(self: Any, *arguments: Any, **named: Any) -> None:
        from dataclasses import replace

        original(self, *arguments, **named)
        self.guard.ledger = replace(self.guard.ledger, skips=Skips.of([window]))
        self.dataloader.skips = self.guard.ledger.skips

    trainer_class.__init__ = told
    train(recipe, other)
    trainer_class.__init__, trainer_class._forward_backward = original, passes
    assert (run / "train" / "losses.jsonl").read_bytes() == (other / "train" / "losses.jsonl").read_bytes()
    assert read_run(RunLayout(other).checkpoint(STEPS)).weights_digest == info.weights_digest

    rows = read_losses(run / "train" / "losses.jsonl")
    spans = [[SAMPLES.consumed(step - 1), SAMPLES.consumed(step)] for step in range(1, STEPS + 1)]
    assert [row["samples"] for row in rows] == spans
    assert [row["tokens"] for row in rows] == [stop * 32 for _, stop in spans]
    traced = [[sample.index for sample in trace_step(RunLayout(run), step).samples] for step in (5, 6, 8)]
    assert traced == [list(range(16, 20)), list(range(20, 28)), list(range(window[1], window[1] + 8))]
    training = read_training(RunLayout(run))
    assert training is not None
    for step in (5, 6, 9):
        sample = trace_step(RunLayout(run), step).samples[0]
        readings = training.readings(sample.source, sample.token_start, 1)
        assert step in [found for reading in readings for found in reading.steps]


def test_offloaded_state_changes_no_byte(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, whose recipe it is refused in: state goes to copies and back, a few parameters at a time."""
    recipe = recipe_for(tmp_path / "recipe.yaml", precision="bfloat16")  # with which parameters are FSDP's
    with pytest.raises(ConfigError, match="offload optimizer is for GPUs alone"):
        train(recipe, run, ["train.offload=optimizer"])
    train(recipe, run)
    plain = bytes_of(run)
    from headwater.train.titan import optimizers

    original, offload = optimizers.HeadwaterOptimizers.__init__, optimizers.offload
    parts: list[int] = []

    def offloaded(self: Any, config: Any, **named: Any) -> None:
        config._offloaded = True
        original(self, config, **named)

    def in_parts(optimizer: Any) -> None:
        offload(optimizer, part_bytes=1 << 12)
        parts.append(len(optimizer.param_groups))

    monkeypatch.setattr(optimizers.HeadwaterOptimizers, "__init__", offloaded)
    monkeypatch.setattr(optimizers, "offload", in_parts)
    other = Path(shutil.copytree(data, tmp_path / "other"))
    train(recipe, other)
    assert bytes_of(other) == plain and parts
    (other / "train" / "manifest.json").unlink()
    for step in (8, STEPS):
        shutil.rmtree(RunLayout(other).checkpoint(step))
    train(recipe, other)
    assert bytes_of(other) == plain


def test_a_run_ends_when_its_validation_loss_stays(run: Path, tmp_path: Path, data: Path, trainer_class: Any) -> None:
    section: dict[str, Any] = {
        "optimizer": {"learning_rate": 1e-9}, "early_stopping": {"patience": 2, "min_delta": 0.01},
        "validation": {"every": 2, "batches": 2},
    }  # fmt: skip
    recipe = recipe_for(tmp_path / "recipe.yaml", **section)
    result = train(recipe, run)
    assert (result.state, result.steps) == ("finished", 6)
    events = read_events(run / "train" / "events.jsonl")
    (event,) = [event for event in events if event["kind"] == "early_stop"]
    assert (event["step"], event["best_step"]) == (6, 2) and events[-1]["kind"] == "finish"
    assert len(read_losses(run / "train" / "losses.jsonl")) == 6
    assert train(recipe, run).state == "up to date"

    # SIGTERM leaves no time to validate: the run ends when it is opened again, with the same last checkpoint.
    other, step = Path(shutil.copytree(data, tmp_path / "other")), trainer_class.train_step

    def terminated(self: Any, *arguments: Any) -> None:
        self.session.terminated = self.step == 6
        step(self, *arguments)

    trainer_class.train_step = terminated
    assert train(recipe, other).state == "terminated"
    trainer_class.train_step = step
    result = train(recipe, other)
    assert (result.state, result.steps) == ("finished", 6)
    kinds = [event["kind"] for event in read_events(other / "train" / "events.jsonl")]
    assert kinds.count("early_stop") == 1 and kinds[-1] == "finish"
    for file in RunLayout(run).checkpoint(6).iterdir():
        assert file.read_bytes() == (RunLayout(other).checkpoint(6) / file.name).read_bytes(), file.name


def test_a_rule_for_no_parameter_is_refused(run: Path, tmp_path: Path) -> None:
    rules = [{"pattern": "attention"}, {"pattern": r"attention\.wo"}]
    recipe = recipe_for(tmp_path / "recipe.yaml", optimizer={"groups": rules})
    with pytest.raises(ConfigError, match=r"groups\.1\.pattern is that of no parameter"):
        train(recipe, run)


OPTIMIZERS = {
    "muon": "{name: muon, learning_rate: 3e-3, precision: float32}", "adafactor": "{name: adafactor}",
    "adamw_8bit": "{name: adamw_8bit, learning_rate: 3e-3, block_size: 32}",
}  # fmt: skip
"""Those that look at more than one element at a time."""


def test_every_optimizer_trains_shared_parameters_as_one_process_does(tmp_path: Path) -> None:
    with Processes(2, tmp_path / "log", optimizer_worker.main) as group:
        assert group.finish() == [0, 0], group.last_words()


@pytest.mark.parametrize("name", [pytest.param(name, marks=NETWORK.get(name, [])) for name in OPTIMIZERS])
def test_sharded_layouts_train_as_one_process_does(name: str) -> None:
    overrides = [f"train.optimizer={OPTIMIZERS[name]}", "train.device=cpu", "train.model.n_layers=2"]
    rows = compare([LAYOUTS["fsdp2"], LAYOUTS["tp2"]], 4, overrides=overrides)
    assert [(row.layout, row.state, row.reason) for row in rows] == [("fsdp2", "same", None), ("tp2", "same", None)]
