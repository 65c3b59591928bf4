"""TensorBoard, W&B and MLflow: what was written is read back with each library's own reader."""

from __future__ import annotations

import json
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import wandb_files

from headwater.core.errors import ConfigError
from headwater.core.metrics import TRAIN_LOSS, TRAIN_SOURCE_LOSS
from headwater.core.sinks import MetricSink, closing_sinks, open_sinks
from headwater.monitor.trackers import tag_of
from headwater.monitor.trackers.mlflow import MlflowSink
from headwater.monitor.trackers.tensorboard import TensorBoardSink
from headwater.monitor.trackers.wandb import WandbSink

LOSS, WEB = TRAIN_LOSS.name, TRAIN_SOURCE_LOSS.series(source="web pages")
SINKS = {"tensorboard": TensorBoardSink, "wandb": WandbSink, "mlflow": MlflowSink}
UNDONE = {1: 9.0, 2: 8.0, 3: 77.0, 4: 76.0}
AGAIN = {3: 7.0, 4: 6.0, 5: float("nan")}


def train_and_go_back(sink: MetricSink) -> None:
    """Steps 1 to 4, a way back to step 2, and steps 3 to 5 once more."""
    with closing_sinks([sink]):
        sink.rewind(0)
        for step, loss in UNDONE.items():
            sink.log(step, {LOSS: loss, WEB: loss + 0.5})
        sink.rewind(2)
        for step, loss in AGAIN.items():
            sink.log(step, {LOSS: loss})


def same(found: dict[int, float], expected: dict[int, float]) -> bool:
    return str(dict(sorted(found.items()))) == str(expected)  # NaN is not equal to itself


def test_tags_are_names_of_the_table_that_every_tracker_takes() -> None:
    assert tag_of(LOSS) == LOSS
    assert tag_of(WEB) == "headwater_train_source_loss/web_pages"
    with pytest.raises(KeyError):
        tag_of("headwater_train_lose")


def test_tensorboard_shows_each_step_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_and_go_back(TensorBoardSink(tmp_path))
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert read.Tags()["scalars"] == [LOSS, tag_of(WEB)]
    assert len(read.Scalars(LOSS)) == 5, "no step twice"
    assert same({event.step: event.value for event in read.Scalars(LOSS)}, {1: 9.0, 2: 8.0, **AGAIN})
    # The run goes on in another process.
    sink = TensorBoardSink(tmp_path)
    sink.rewind(4)
    sink.log(5, {LOSS: 5.0})
    sink.close()
    again = EventAccumulator(str(tmp_path))
    again.Reload()
    assert [(event.step, event.value) for event in again.Scalars(LOSS)] == [(1, 9), (2, 8), (3, 7), (4, 6), (5, 5)]


@pytest.mark.slow
def test_wandb_offline_begins_another_run_where_steps_are_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    # Whatever the environment says: nothing goes online unless the recipe does.
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "5ec4e7" * 8)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody is there
    monkeypatch.setattr(sys, "argv", ["program-9c1f", "--token", "argument-77ab"])
    train_and_go_back(WandbSink(tmp_path))
    found: dict[str, dict[int, float]] = {}
    for path in wandb_files.finished(tmp_path):
        name = ""
        for record in wandb_files.records(path):
            if record.WhichOneof("record_type") == "run":
                name = record.run.display_name
                assert (record.run.project, record.run.run_group) == ("headwater", "training")
            if record.WhichOneof("record_type") == "history":
                row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                value = row[LOSS]
                found.setdefault(name, {})[row["headwater_train_step"]] = float(value)
    assert same(found.pop("from step 0"), UNDONE)
    assert same(found.pop("from step 2"), AGAIN) and not found
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"5ec4e7" not in everything, "the key is written nowhere"
    assert b"program-9c1f" not in everything and b"argument-77ab" not in everything, "nor is the command line"


@pytest.mark.slow
def test_mlflow_begins_another_run_where_steps_are_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    train_and_go_back(MlflowSink(tmp_path))
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'headwater'")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"from step 0", "from step 2"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    first, second = runs["from step 0"], runs["from step 2"]
    assert first.data.tags["headwater.undone_after_step"] == "2"
    assert "headwater.undone_after_step" not in second.data.tags

    def steps(run: Any, key: str) -> dict[int, float]:
        return {each.step: each.value for each in client.get_metric_history(run.info.run_id, key)}

    assert same(steps(first, LOSS), UNDONE) and same(steps(second, LOSS), AGAIN)
    assert set(steps(first, tag_of(WEB))) == set(UNDONE)
    # A long history is written in batches.
    sink = MlflowSink(tmp_path, experiment="long")
    for step in range(700):
        sink.log(step, {LOSS: float(step), WEB: 1.0})
    sink.close()
    (long,) = client.search_runs([client.get_experiment_by_name("long").experiment_id])
    assert len(client.get_metric_history(long.info.run_id, LOSS)) == 700


@pytest.mark.parametrize("name", SINKS)
def test_a_missing_library_is_named_with_its_extra(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=f"{name} needs a library") as caught:
        SINKS[name](tmp_path)
    assert f"headwater-monitor[{name}]" in str(caught.value)


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such mode"):
        WandbSink(tmp_path, mode="disabled")
    with pytest.raises(ConfigError, match="no credentials"):
        MlflowSink(tmp_path, uri="https://me:secret@example.test")


@pytest.mark.skipif(
    "tensorboard" not in entry_points(group="headwater.sinks").names, reason="installed before there were trackers"
)
def test_a_recipe_names_them_and_they_write_into_the_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    sinks = open_sinks({"tensorboard": {}}, tmp_path / "trackers")
    with closing_sinks(sinks):
        sinks[0].log(1, {LOSS: 3.0})
    assert list((tmp_path / "trackers" / "tensorboard").glob("events.out.tfevents.*"))
    with pytest.raises(ConfigError, match="did you mean folder"):
        open_sinks({"tensorboard": {"foldr": "x"}}, tmp_path)
