"""Whole runs that are healed: skipped, rolled back, killed across a rollback, and with processes that disagree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import guard_process
import pytest
from train_fixtures import write_recipe

from headwater.core.errors import TrainError
from headwater.core.events import read_events
from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact, read_manifest
from headwater.core.metrics import TRAIN_HALTED, TRAIN_STALLS
from headwater.core.run import read_run
from headwater.core.sinks import check_names
from headwater.core.skips import Skips
from headwater.core.trace.steps import trace_step
from headwater.train.guard.halted import RESTARTS
from headwater.train.losses import read_losses
from headwater.train.processes import Processes
from headwater.train.resume import replace, replacement, settle
from headwater.train.runner import train
from headwater.train.session import STALLED, TERMINATED

pytestmark = pytest.mark.slow

STEPS, BATCH = 120, 8
FIRST, LAST = 100 * BATCH, 105 * BATCH - 1
"""Samples that do harm: those of steps 101 to 105, by the last of which the guard has noticed."""

MODEL = {"dim": 32, "n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "ffn_dim": 64}
"""For layouts: as many heads of keys as processes share them."""


def guarded(**section: Any) -> dict[str, Any]:
    return {"outlier": {"respond": "off"}, "rollback": {"margin_steps": 4}, **section}


def recipe_for(path: Path, **train_section: Any) -> Path:
    return write_recipe(path, **{
        "steps": STEPS, "checkpoint": {"every": 20, "keep_last": 4, "keep_best": 0, "background": False},
        "validation": {"every": 60, "batches": 2}, "optimizer": {"learning_rate": 0.003}, "guard": guarded(),
        **train_section,
    })  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recipe_for(tmp_path_factory.mktemp("guard") / "recipe.yaml")


@pytest.fixture
def run(tmp_path: Path, data: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "run"))


@pytest.fixture(scope="module")
def healed(tmp_path_factory: pytest.TempPathFactory, data: Path, recipe: Path) -> Path:
    """A run that met the harmful samples, in a process of its own."""
    run = Path(shutil.copytree(data, tmp_path_factory.mktemp("healed") / "run"))
    finish(recipe, run)
    return run


def started(recipe: Path, run: Path) -> Processes:
    """A training that meets the harmful samples, in a process of its own."""
    return Processes(1, run.parent / "log.txt", guard_process.main, recipe, run, FIRST, LAST, "loss")


def finish(recipe: Path, run: Path) -> None:
    with started(recipe, run) as group:
        assert group.finish() == [0], group.last_words()


def events_of(run: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run / "train" / "events.jsonl") if event["kind"] == kind]


def losses_of(run: Path) -> bytes:
    return (run / "train" / "losses.jsonl").read_bytes()


def test_a_rollback_says_what_it_did_and_leaves_whole_logs(healed: Path):
    (event,) = events_of(healed, "rollback")
    assert event["detector"] == "divergence" and event["to_step"] == 80 and 98 <= event["onset"] <= 102
    assert 103 <= event["from_step"] <= 106 and event["step"] == event["from_step"]
    assert [step for step, _, _ in event["losses"]] == list(range(81, event["from_step"] + 1))
    assert max(loss for _, loss, _ in event["losses"]) > min(loss for _, loss, _ in event["losses"]) + 1
    start, stop = event["samples"]
    assert start == (event["onset"] - 1 - 4) * BATCH and stop == (event["from_step"] + 4) * BATCH
    assert {document["sample"] for document in event["documents"]} == set(range(start, stop))
    assert all(document["url"].startswith("http://example.test/") for document in event["documents"])
    rows = read_losses(healed / "train" / "losses.jsonl")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    info = read_run(RunLayout(healed).checkpoint(STEPS))
    assert info.skips == [[start, stop]] and info.samples == STEPS * BATCH
    import json

    metrics = [json.loads(line) for line in (healed / "train" / "metrics.jsonl").read_text().splitlines()]
    for row in metrics:
        check_names({name: value for name, value in row.items() if name not in ("step", "time_seconds")})
    assert [row["step"] for row in metrics if "headwater_train_loss" in row] == list(range(1, STEPS + 1))
    last = {name: value for row in metrics for name, value in row.items()}
    assert last["headwater_train_rollbacks_total"] == 1 == last["headwater_train_spikes_total"]
    assert last["headwater_train_skipped_samples_total"] == stop - start


def test_a_healed_run_is_the_run_that_never_had_those_samples(
    healed: Path, run: Path, recipe: Path, trainer_class: Any
):
    """The same losses to the bit as with the window left out from the beginning: model, optimizer, schedule and data
    all came back."""
    window = read_run(RunLayout(healed).checkpoint(STEPS)).skips
    original = trainer_class.__init__

    def told(self: Any, *arguments: Any, **named: Any) -> None:
        from dataclasses import replace

        original(self, *arguments, **named)
        self.guard.ledger = replace(self.guard.ledger, skips=Skips.of(window))
        self.dataloader.skips = self.guard.ledger.skips

    trainer_class.__init__ = told
    train(recipe, run)
    assert events_of(run, "rollback") == []
    assert losses_of(run) == losses_of(healed)
    ours, theirs = (read_run(RunLayout(one).checkpoint(STEPS)) for one in (run, healed))
    assert ours.weights_digest == theirs.weights_digest and ours.order_digest == theirs.order_digest


def test_trace_goes_through_the_window(healed: Path):
    (window,) = read_run(RunLayout(healed).checkpoint(STEPS)).skips
    step = window[0] // BATCH + 1
    before = [sample.index for sample in trace_step(RunLayout(healed), step - 1).samples]
    after = [sample.index for sample in trace_step(RunLayout(healed), step).samples]
    assert before[-1] == window[0] - 1 and after[0] == window[1]


@pytest.mark.parametrize("moment", ["rollback", "replacement", "checkpoint_deleted", "step 90 again"])
def test_kill_9_across_a_rollback_then_the_same_command_gives_the_same_run(
    healed: Path, run: Path, recipe: Path, moment: str
):
    with started(recipe, run) as group:
        assert group.run_until(lambda: reached(run, moment)), group.last_words()
        group.kill()
    assert not is_artifact(run / "train")
    finish(recipe, run)
    assert losses_of(run) == losses_of(healed)
    for step in (100, STEPS):
        ours, theirs = (RunLayout(one).checkpoint(step) for one in (run, healed))
        for file in sorted(theirs.iterdir()):
            assert (ours / file.name).read_bytes() == file.read_bytes(), (step, file.name)
    assert read_manifest(run / "train").digest == read_manifest(healed / "train").digest


def reached(run: Path, moment: str) -> bool:
    path = run / "train" / "events.jsonl"
    kinds = [event["kind"] for event in read_events(path)] if path.is_file() else []
    if "rollback" not in kinds:
        return False
    if moment == "replacement":
        return replacement(RunLayout(run).checkpoint(80)).is_dir() or "checkpoint_deleted" in kinds
    if moment in ("rollback", "checkpoint_deleted"):
        return moment in kinds
    if moment == "step 90 again":
        rows = read_losses(run / "train" / "losses.jsonl")
        return 90 <= len(rows) < 100
    raise AssertionError(moment)


@pytest.mark.parametrize("renamed", [0, 1, 2])
@pytest.mark.parametrize("whole", [True, False])
def test_a_replacement_that_was_interrupted_is_finished_or_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: int, whole: bool
):
    folder = tmp_path / "step-00000080"
    for path, text in ((folder, "old"), (replacement(folder), "new")):
        path.mkdir()
        (path / "run.json").write_text(text)
    (folder / "manifest.json").write_text("{}")
    if whole:
        (replacement(folder) / "manifest.json").write_text("{}")
    elif renamed:
        return  # only a whole one takes the place of another
    original, left = Path.rename, [renamed]

    def killed(self: Path, target: Path) -> Path:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return original(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    monkeypatch.setattr(shutil, "rmtree", lambda path: killed(path, path))  # also before the old one is deleted
    with pytest.raises(KeyboardInterrupt):
        replace(folder)
    monkeypatch.undo()
    settle(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name] and is_artifact(folder)
    assert (folder / "run.json").read_text() == ("new" if renamed else "old")


def state_of(trainer: Any) -> list[Any]:
    """Weights, moments and step counts."""
    states = [value for one in trainer.optimizers for each in one.state.values() for value in each.values()]
    return [*trainer.model_parts[0].parameters(), *states]


def test_a_step_that_is_not_finite_is_skipped_and_named(run: Path, tmp_path: Path, trainer_class: Any):
    recipe = recipe_for(tmp_path / "nan.yaml", steps=24, checkpoint={"every": 24}, validation={"every": 0})
    guard_process.harm(10 * BATCH, 11 * BATCH - 1, "nan")
    unchanged: dict[int, bool] = {}
    step_of = trainer_class.train_step

    def watched(self: Any, batches: Any) -> None:
        import torch

        earlier = [tensor.detach().clone() for tensor in state_of(self)]
        step_of(self, batches)
        now = state_of(self)
        unchanged[self.step] = len(now) == len(earlier) and all(map(torch.equal, now, earlier))

    trainer_class.train_step = watched
    try:
        assert train(recipe, run).state == "finished"
    finally:
        trainer_class.train_step = step_of
    assert [step for step, same in unchanged.items() if same] == [11]
    (event,) = events_of(run, "nonfinite")
    assert (event["step"], event["response"], event["samples"]) == (11, "skip", [80, 88])
    assert event["grad_norm"] == "nan" and event["documents"]
    skipped = [row for row in read_losses(run / "train" / "losses.jsonl") if row.get("skipped")]
    assert [(row["step"], row["grad_norm"]) for row in skipped] == [(11, None)]


def test_a_run_that_hangs_ends_and_the_same_command_goes_on_as_if_it_had_not(run: Path, tmp_path: Path, data: Path):
    """`guard.stall.respond: exit`: what a launcher starts again is the run that never hung."""
    whole = Path(shutil.copytree(data, tmp_path / "whole"))
    recipe = recipe_for(tmp_path / "hangs.yaml", steps=24, checkpoint={"every": 8}, validation={"every": 0},
                        guard={"stall": {"seconds": 3600, "respond": "exit"}})  # fmt: skip
    with Processes(1, tmp_path / "log.txt", guard_process.hung, recipe, run, 12) as group:
        assert group.finish() == [TERMINATED], group.last_words()
    (stall,) = events_of(run, "stall")
    assert (stall["step"], stall["response"]) == (12, "exit") and stall["seconds"] >= 3600
    said = (tmp_path / "log.txt").read_text()
    assert "no step was done for" in said and "hanging" in said, "where each thread was"
    rows = [json.loads(line) for line in (run / "train" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1][TRAIN_STALLS.name] == 1
    with Processes(1, tmp_path / "again.txt", guard_process.hung, recipe, run, 12) as group:
        assert group.finish() == [STALLED], "no checkpoint since step 8: what restarts it has to count"
    assert train(recipe, run).state == "finished"
    assert train(recipe, whole).state == "finished"
    assert losses_of(run) == losses_of(whole)


def test_without_a_checkpoint_to_go_back_to_it_says_so_and_goes_on(run: Path, tmp_path: Path, trainer_class: Any):
    recipe = recipe_for(tmp_path / "late.yaml", checkpoint={"every": STEPS})
    guard_process.harm(FIRST, LAST, "loss")
    assert train(recipe, run).state == "finished"
    (event,) = events_of(run, "spike")
    assert "no checkpoint before step" in event["reason"] and events_of(run, "rollback") == []


def test_trouble_that_does_not_end_halts_after_the_allowed_rollbacks(
    run: Path, tmp_path: Path, trainer_class: Any, monkeypatch: pytest.MonkeyPatch
):
    guard = guarded(rollback={"margin_steps": 4, "at_most": 2})
    recipe = recipe_for(tmp_path / "endless.yaml", guard=guard)
    guard_process.harm(FIRST, 10**9, "loss")
    with pytest.raises(TrainError, match="no more rollbacks are allowed") as caught:
        train(recipe, run)
    assert caught.value.exit_code == 1 and "http://example.test/" in str(caught.value)
    rollbacks = events_of(run, "rollback")
    assert [event["learning_rate_factor"] for event in rollbacks] == [1.0, 0.5]
    one, two = (event["samples"] for event in rollbacks)
    assert two[0] <= one[1] and two[1] - two[0] >= one[1] - one[0]
    *_, halt = read_events(run / "train" / "events.jsonl")
    assert halt["kind"] == "halt" and halt["onset"] < halt["step"]
    assert halt["samples"][1] - halt["samples"][0] == (halt["step"] - halt["onset"] + 1) * BATCH
    assert {document["sample"] for document in halt["documents"]} == set(range(*halt["samples"]))
    rows = [json.loads(line) for line in (run / "train" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1][TRAIN_HALTED.name] == 1
    with monkeypatch.context() as torchrun:  # which starts what has failed again
        torchrun.setenv(RESTARTS, "1")
        with pytest.raises(TrainError, match="the guard halted this run at step"):
            train(recipe, run)
    assert read_events(run / "train" / "events.jsonl")[-1] == halt
    # What the message says: other settings let it go on from the last checkpoint.
    assert train(recipe, run, ["train.guard.divergence.respond=report"]).state == "finished"


@pytest.mark.parametrize("layout", [{"dp_replicate": 2}, {"pp": 2}])
def test_processes_that_see_other_figures_skip_the_same_steps(run: Path, tmp_path: Path, layout: dict[str, Any]):
    """Only process 1 sees the harm. A decision by each for itself would leave one waiting for the other."""
    recipe = recipe_for(tmp_path / "two.yaml", parallel=layout, model=MODEL, steps=16)
    said = train_by_two(run, recipe, 10, 13, "nan")
    rows = read_losses(run / "train" / "losses.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 17))
    assert [row["step"] for row in rows if row.get("skipped")] == [11, 12, 13]
    assert len(events_of(run, "nonfinite")) == 3
    if "pp" not in layout:
        assert said[0] == said[1]


@pytest.mark.parametrize("layout", [{"dp_shard": 2}, {"tp": 2}])
def test_processes_that_see_other_losses_roll_back_to_one_checkpoint(run: Path, tmp_path: Path, layout: dict[str, Any]):
    recipe = recipe_for(tmp_path / "two.yaml", parallel=layout, model={**MODEL, "n_layers": 1}, steps=84)
    said = train_by_two(run, recipe, 72, 79, "loss")  # the guard has watched for 64 steps
    assert [row["step"] for row in read_losses(run / "train" / "losses.jsonl")] == list(range(1, 85))
    (event,) = events_of(run, "rollback")
    assert event["to_step"] == 60 and "skips [[" in said[0] and said[0] == said[1]


def train_by_two(run: Path, recipe: Path, after: int, upto: int, kind: str) -> list[str]:
    """Trains on two processes of which one sees harm in the steps after `after`; gives what they say at the end."""
    log = run.parent / "log.txt"
    with Processes(2, log, guard_process.main, recipe, run, after * BATCH, upto * BATCH - 1, kind, 1) as group:
        assert group.finish() == [0, 0], group.last_words()
    said = [line for line in log.read_text().splitlines() if line.startswith("weights ")]
    assert len(said) == 2
    return said
