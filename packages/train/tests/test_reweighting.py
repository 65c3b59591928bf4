"""Weights that follow the loss: the method against its definition, and whole runs that are killed and rolled back."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import guard_process
import pytest
import yaml
from train_fixtures import write_recipe

from headwater.core import metrics as names
from headwater.core.config import load_section
from headwater.core.errors import ConfigError, TrainError
from headwater.core.events import read_events
from headwater.core.layout import RunLayout
from headwater.core.manifest import read_manifest
from headwater.core.mixture import Mixture
from headwater.core.run import RunInfo, StageInfo, read_run
from headwater.core.trace.steps import trace_step
from headwater.core.trace.training import order_of
from headwater.core.verify.findings import Findings
from headwater.core.verify.training import check_checkpoint, check_training
from headwater.core.verify.walk import Artifact, Walk
from headwater.train.processes import Processes
from headwater.train.reweigher import Reweigher
from headwater.train.reweighting import averaged, rounded, updated
from headwater.train.runner import open_run, train

EVERY, STEPS = 3, 14
SECTION: dict[str, Any] = {"reference": {"code": 1.0, "web": 4.4}, "every": EVERY, "step_size": 0.2}


def test_an_update_is_that_of_the_paper() -> None:
    weights, excess, eta, c = {"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 0.0, "b": 0.4, "c": 1.3}, 0.7, 0.01
    raised = {name: weights[name] * math.exp(eta * excess[name]) for name in weights}
    expected = {name: (1 - c) * raised[name] / sum(raised.values()) + c / 3 for name in weights}
    assert updated(weights, excess, eta, c) == pytest.approx(expected, rel=1e-14)
    even = updated(weights, {"a": 900.0, "b": 0.0, "c": 2000.0}, 1.0, 0.03)  # exp(2000) is no number
    assert even == pytest.approx({"a": 0.01, "b": 0.01, "c": 0.98})


def test_rounded_weights_sum_to_one_and_leave_no_source_out() -> None:
    found = rounded({"a": 0.9995, "b": 0.0003, "c": 0.0002}, 1000)
    assert found == {"a": 0.998, "b": 0.001, "c": 0.001}
    assert rounded({"a": 1 / 3, "b": 2 / 3}, 3) == {"a": 1 / 3, "b": 2 / 3}


def test_the_average_leaves_out_what_came_before_the_first_change() -> None:
    stages = [
        StageInfo(name=str(n), samples=n, weights=w)
        for n, w in ((50, {"a": 9, "b": 1}), (10, {"a": 0.5, "b": 0.5}), (30, {"a": 0.1, "b": 0.9}))
    ]
    assert averaged(stages, 90) == {"a": 0.2, "b": 0.8}
    assert averaged(stages, 65) == {"a": 0.366667, "b": 0.633333}  # stopped early
    assert averaged(stages[:1], 50) == averaged(stages, 50) == {"a": 0.9, "b": 0.1}


def recipe_for(path: Path, section: dict[str, Any] | None = None, **train_section: Any) -> Path:
    return write_recipe(path, **{
        "steps": STEPS, "checkpoint": {"every": 5, "keep_last": 3, "keep_best": 0, "background": False},
        "validation": {"every": 5, "batches": 2}, "guard": {"outlier": {"respond": "off"}},
        "reweighting": SECTION | (section or {}), **train_section,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("section", "overrides", "message"),
    [
        ({}, ["mixture.max_epochs=2"], r"mixture\.max_epochs does not go with train\.reweighting"),
        ({}, ["mixture={stages: [{name: a, share: 1, weights: {web: 1, code: 1}}]}"], r"mixture\.stages does not go"),
        ({}, ["mixture.weights={web: 1}"], "needs sources to choose from"),
        ({"reference": {"code": 1.0, "wbe": 2.0}}, [], "no loss for the source web"),
        ({"reference": {"code": 0.0}}, [], r"reference.*code.*greater than 0"),
        ({"reference": {}}, [], r"train\.reweighting\.reference.*at least 1"),
        ({"reference": "nowhere"}, [], "nowhere does not exist"),
        ({}, ["train.label_smoothing=0.1"], "reweighting does not go with label_smoothing"),
        ({"every": 1}, ["train.global_batch=1", "train.micro_batch=1"], "would give no sample between two changes"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, data: Path, section: dict[str, Any], overrides: list[str], message: str
) -> None:
    recipe = recipe_for(tmp_path / "recipe.yaml", section)
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        open_run(recipe, data, overrides)


@pytest.mark.parametrize(("text", "message"), [("web: x\ncode: 1", "loss of web"), ("web: 1.5", "for the source code")])
def test_a_file_of_losses_that_is_wrong_is_named(tmp_path: Path, data: Path, text: str, message: str) -> None:
    file = tmp_path / "losses.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        open_run(recipe_for(tmp_path / "recipe.yaml", {"reference": str(file)}), data)


def test_a_window_becomes_a_stage_and_the_state_reads_back(tmp_path: Path, data: Path) -> None:
    recipe = recipe_for(tmp_path / "recipe.yaml", {"step_size": 1.0})
    inputs = open_run(recipe, data)
    one = Reweigher(inputs)
    assert [step for step in range(1, STEPS + 1) if one.due(step)] == [3, 6, 9, 12]
    one.add([64 * 9.0, 192 * 4.0], [64.0, 192.0])
    one.add([math.inf, 1.0], [1.0, 1.0])  # left out
    change = one.decide(3)
    assert change.losses == {"code": 9.0, "web": 4.0} and change.excess == {"code": 8.0, "web": 0.0}
    assert change.exact == updated({"code": 0.25, "web": 0.75}, change.excess, 1.0, 1e-3)
    assert change.after == {"code": 23 / 24, "web": 1 / 24}
    assert change.shift == pytest.approx((23 / 24 - 0.25) * (9 - 4))
    one.apply(3, change, 24, 112)
    assert one.begins(4) and not one.begins(3)  # the guard learns the new level of the loss
    other_inputs = open_run(recipe, data)
    other = Reweigher(other_inputs)
    other.load_state_dict(one.state_dict())
    assert other.state_dict() == one.state_dict() and other_inputs.stages == inputs.stages
    assert inputs.weights["code"] == pytest.approx((24 * 0.25 + 88 * 23 / 24) / 112)
    again = other.decide(6)  # nothing was seen: the excess of before still counts
    assert again.losses == {} and again.excess == change.excess
    assert again.exact == updated(change.exact, change.excess, 1.0, 1e-3)
    other.apply(6, again, 48, 112)
    assert [stage.samples for stage in other_inputs.stages] == [24, 24, 64] and other.begins(4)


@pytest.mark.slow
def test_the_validation_losses_of_a_finished_run_are_a_reference(tmp_path: Path, data: Path, whole: Path) -> None:
    layout = RunLayout(whole)
    last = layout.checkpoint(int(read_manifest(layout.train).counters["steps"]))
    info = read_run(last)
    assert set(info.validation_losses) == {"code", "web"} and info.validation_loss is not None
    least, most = sorted(info.validation_losses.values())
    assert least <= info.validation_loss <= most
    for reference in (whole, last):
        inputs = open_run(recipe_for(tmp_path / "recipe.yaml", {"reference": str(reference)}), data)
        assert inputs.config.reweighting is not None
        assert inputs.config.reweighting.losses() == info.validation_losses
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text(info.model_copy(update={"validation_losses": {}}).dump())
    with pytest.raises(ConfigError, match="no validation losses by source"):
        open_run(recipe_for(tmp_path / "recipe.yaml", {"reference": str(tmp_path / "old")}), data)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recipe_for(tmp_path_factory.mktemp("recipe") / "recipe.yaml")


@pytest.fixture(scope="module")
def reweighed(tmp_path_factory: pytest.TempPathFactory, data: Path, recipe: Path) -> Path:
    """A finished run. Tests must not change it."""
    run = Path(shutil.copytree(data, tmp_path_factory.mktemp("reweighed") / "run"))
    assert train(recipe, run).state == "finished"
    return run


def last(run: Path) -> RunInfo:
    return read_run(RunLayout(run).checkpoint(STEPS))


def verify(run: Path) -> list[str]:
    """What `headwater verify` says of the training's order, losses and checkpoints."""
    layout, findings = RunLayout(run), Findings()
    folders = [layout.train, *layout.checkpoints.iterdir(), *layout.tokens_root.iterdir()]
    label = {folder: folder.relative_to(run).as_posix() for folder in folders}
    sound = Walk({f.resolve(): Artifact(f.resolve(), label[f], read_manifest(f), None) for f in folders}, set())
    for artifact in sound.of_kind("checkpoint"):
        check_checkpoint(layout, artifact, findings)
    check_training(layout, sound.artifacts[layout.train.resolve()], sound, findings)
    return [finding.problem for finding in findings.found]


@pytest.mark.slow
def test_every_change_is_recorded_as_a_stage_and_follows_from_the_losses(reweighed: Path) -> None:
    info = last(reweighed)
    assert [(stage.name, stage.samples) for stage in info.stages] == [
        ("start", 24), *((f"after step {step}", 24) for step in (3, 6, 9)), ("after step 12", 16),
    ]  # fmt: skip
    events = [event for event in read_events(reweighed / "train" / "events.jsonl") if event["kind"] == "reweigh"]
    assert [event["step"] for event in events] == [3, 6, 9, 12]
    exact = {"code": 0.25, "web": 0.75}
    for event, stage in zip(events, info.stages[1:], strict=True):
        excess = {name: max(event["losses"][name] - SECTION["reference"][name], 0.0) for name in exact}
        exact = updated(exact, excess, 0.2, 1e-3)
        assert event["excess"] == excess and event["after"] == stage.weights == rounded(exact, 24)
    assert events[-1]["after"]["code"] > 0.6  # its loss lies far above its reference
    assert verify(reweighed) == []
    assert trace_step(RunLayout(reweighed), 6).stages == ["after step 3"]
    order = order_of(RunLayout(reweighed), info)
    for index in (0, 30, 77, 111):
        sample = order.locate(index)
        assert index in order.invert(sample.source, sample.offset, sample.offset + 1, until=112)


@pytest.mark.slow
def test_the_average_is_a_mixture_for_a_later_recipe_and_the_metrics_say_the_weights(
    reweighed: Path, recipe: Path
) -> None:
    path = reweighed / "train" / "mixture.yaml"
    assert "mixture.yaml" in {entry.path for entry in read_manifest(reweighed / "train").files}
    section = yaml.safe_load(path.read_text())["mixture"]
    assert Mixture(**section).weights == averaged(last(reweighed).stages, STEPS * 8)
    rows = [json.loads(line) for line in (reweighed / "train" / "metrics.jsonl").read_text().splitlines()]
    series = names.TRAIN_SOURCE_WEIGHT.series(source="code")
    said = [row[series] for row in rows if series in row]
    assert said[0] == 0.25 and said[-1] == last(reweighed).stages[-1].weights["code"]
    again = load_section("mixture", Mixture, reweighed / "train" / "config.yaml")
    assert again.weights == {"code": 1, "web": 3}  # the recorded recipe begins where this one did
    assert train(recipe, reweighed).state == "up to date"
    assert train(reweighed / "train" / "config.yaml", reweighed).state == "up to date"


@pytest.mark.slow
@pytest.mark.parametrize("back_to", [5, 10])
def test_a_run_that_was_killed_goes_on_with_the_same_changes(
    tmp_path: Path, reweighed: Path, recipe: Path, back_to: int
) -> None:
    run = Path(shutil.copytree(reweighed, tmp_path / "run"))
    layout = RunLayout(run)
    (run / "train" / "manifest.json").unlink()
    for step in (10, STEPS):
        if step > back_to:
            shutil.rmtree(layout.checkpoint(step))
    with pytest.raises(TrainError, match=r"another train\.reweighting\.every"):
        train(recipe, run, ["train.reweighting.every=4"])
    with pytest.raises(TrainError, match=r"another mixture\.weights"):
        train(recipe, run, ["mixture.weights.web=4"])
    assert train(recipe, run).state == "finished"
    assert last(run) == last(reweighed)
    assert read_manifest(run / "train").digest == read_manifest(reweighed / "train").digest


@pytest.mark.slow
def test_a_rollback_undoes_the_changes_after_it(tmp_path: Path, data: Path, reweighed: Path) -> None:
    run = Path(shutil.copytree(data, tmp_path / "run"))
    harmed = recipe_for(tmp_path / "recipe.yaml", guard={"nonfinite": "rollback", "rollback": {"margin_steps": 0}})
    # Step 8: after the change at step 6, back to step 5. "nan" is a gradient that is no number.
    with Processes(1, tmp_path / "log", guard_process.main, harmed, run, 56, 63, "nan") as group:
        assert group.finish() == [0], group.last_words()
    info = last(run)
    events = read_events(run / "train" / "events.jsonl")
    assert [event["to_step"] for event in events if event["kind"] == "rollback"] == [5]
    assert [event["step"] for event in events if event["kind"] == "reweigh"] == [3, 6, 6, 9, 12]
    assert info.skips == [[56, 64]]
    assert [stage.name for stage in info.stages] == [stage.name for stage in last(reweighed).stages]
    assert [stage.samples for stage in info.stages] == [24, 24, 32, 24, 16]
    assert info.stages[:2] == last(reweighed).stages[:2]
    assert info.stages[2].weights == last(reweighed).stages[2].weights != info.stages[3].weights
    assert verify(run) == []
    assert trace_step(RunLayout(run), 9).stages == ["after step 6"]
    assert trace_step(RunLayout(run), 10).stages == ["after step 9"]


@pytest.mark.slow
@pytest.mark.parametrize("degree", ["dp_shard", "pp"])
def test_two_processes_choose_the_weights_of_one(
    tmp_path: Path, data: Path, reweighed: Path, recipe: Path, degree: str
) -> None:
    run = Path(shutil.copytree(data, tmp_path / "run"))
    two = recipe_for(tmp_path / "recipe.yaml", parallel={degree: 2})
    with Processes(2, tmp_path / "log", guard_process.main, two, run, -1, -1, "nan") as group:
        assert group.finish() == [0, 0], group.last_words()
    assert last(run).stages == last(reweighed).stages
    assert last(run).order_digest == last(reweighed).order_digest and verify(run) == []
    assert last(run).validation_losses == pytest.approx(last(reweighed).validation_losses, rel=1e-4)
    # What two processes began, one goes on with.
    (run / "train" / "manifest.json").unlink()
    shutil.rmtree(RunLayout(run).checkpoint(STEPS))
    assert train(recipe, run).state == "finished"
    assert last(run).stages == last(reweighed).stages
