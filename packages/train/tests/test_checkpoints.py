"""Checkpoints that are written while training goes on: the same bytes, one at a time, and no error is lost."""

from __future__ import annotations

import errno
import hashlib
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from train_fixtures import write_recipe

from headwater.core.errors import StorageError, TrainError
from headwater.core.events import read_events
from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact
from headwater.core.run import read_run
from headwater.train.losses import read_losses
from headwater.train.runner import train
from headwater.train.staging import HostCopy

slow = pytest.mark.slow


@pytest.fixture
def run(tmp_path: Path, data: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "run"))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path / "r.yaml", steps=12, checkpoint={"every": 3, "keep_last": 9, "keep_best": 0})


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "train" / "checkpoints").iterdir())


@slow
def test_written_in_the_background_or_not_the_bytes_are_the_same(run: Path, recipe: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    train(recipe, run)
    train(recipe, other, ["train.checkpoint.background=false"])
    assert [path.name for path in checkpoints(run)] == [f"step-{step:08d}" for step in (3, 6, 9, 12)]
    for one, two in zip(checkpoints(run), checkpoints(other), strict=True):
        for file in sorted(one.iterdir()):
            assert file.read_bytes() == (two / file.name).read_bytes(), (one.name, file.name)
    assert (run / "train" / "losses.jsonl").read_bytes() == (other / "train" / "losses.jsonl").read_bytes()


@slow
def test_training_does_not_wait_for_the_disk_and_one_checkpoint_is_written_at_a_time(
    run: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headwater.train import titan

    titan.start("cpu", 1, 1)
    from headwater.train.saving import Saving
    from headwater.train.titan.trainer import HeadwaterTrainer

    titan.stop()
    reached, seen, writing = threading.Event(), {}, []
    finish, report = Saving._finish, HeadwaterTrainer._report

    def slow_disk(self: Saving, folder: Path) -> Any:
        writing.append(self.draft.step)
        if self.draft.step == 3:
            assert reached.wait(60), "training waits for the checkpoint of step 3"
        result = finish(self, folder)
        writing.append(-self.draft.step)
        return result

    def reporting(self: HeadwaterTrainer, *arguments: Any) -> None:
        report(self, *arguments)
        if arguments[0].sent.step == 5:
            seen["whole"] = is_artifact(RunLayout(run).checkpoint(3))
            reached.set()

    monkeypatch.setattr(Saving, "_finish", slow_disk)
    monkeypatch.setattr(HeadwaterTrainer, "_report", reporting)
    train(recipe, run)
    assert seen == {"whole": False}
    assert writing == [3, -3, 6, -6, 9, -9, 12, -12]
    assert all(is_artifact(path) for path in checkpoints(run))


@slow
@pytest.mark.parametrize("background", [True, False])
def test_what_a_write_fails_with_stops_training_and_leaves_nothing_that_looks_whole(
    run: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    from headwater.train import saving

    save = saving.save_state

    def full(state: dict[str, Any], folder: Path, group: Any) -> None:
        if folder.name == "step-00000006":
            raise OSError(errno.ENOSPC, "No space left on device")
        save(state, folder, group)

    monkeypatch.setattr(saving, "save_state", full)
    overrides = [f"train.checkpoint.background={background}".lower()]
    with pytest.raises(StorageError, match=r"step-00000006: No space left"):
        train(recipe, run, overrides)
    assert len(read_losses(run / "train" / "losses.jsonl")) <= 9
    assert [is_artifact(RunLayout(run).checkpoint(step)) for step in (3, 6)] == [True, False]
    monkeypatch.undo()
    assert train(recipe, run, overrides).state == "finished"
    resumed = [event["step"] for event in read_events(run / "train" / "events.jsonl") if event["kind"] == "resume"]
    assert resumed == [3]


@slow
def test_a_state_that_is_not_finite_is_not_written(run: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headwater.train import titan

    titan.start("cpu", 1, 1)
    from headwater.train.titan.checkpoint import HeadwaterCheckpoints

    titan.stop()
    flattened = HeadwaterCheckpoints._flattened_model_states_sd

    def poisoned(self: HeadwaterCheckpoints, *arguments: Any) -> dict[str, Any]:
        state = flattened(self, *arguments)
        return {**state, "extra": {"moment": torch.tensor([1.0, float("nan")])}}

    monkeypatch.setattr(HeadwaterCheckpoints, "_flattened_model_states_sd", poisoned)
    with pytest.raises(TrainError, match=r"extra\.moment holds values that are not finite: no checkpoint of step 3"):
        train(recipe, run)
    assert not is_artifact(RunLayout(run).checkpoint(3))


@slow
def test_the_weights_digest_is_that_of_what_a_reader_finds(run: Path, recipe: Path, tmp_path: Path) -> None:
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    train(recipe, run, ["train.steps=3"])
    folder = RunLayout(run).checkpoint(3)
    dcp_to_torch_save(folder, tmp_path / "whole.pt")
    state = torch.load(tmp_path / "whole.pt", weights_only=False)
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode() + tensor.numpy().tobytes())
    assert digest.hexdigest() == read_run(folder).weights_digest


def test_a_host_copy_is_equal_to_the_state_and_apart_from_it() -> None:
    state: dict[str, Any] = {
        "weight": torch.arange(12.0).reshape(3, 4), "turned": torch.arange(6.0).reshape(2, 3).T,
        "part": torch.arange(100.0)[10:20], "deep": {"steps": [1, 2], "pair": (torch.ones(2), "x")},
    }  # fmt: skip
    copier = HostCopy(pinned=False)
    first = copier.take(state)
    for name in ("weight", "turned", "part"):
        assert torch.equal(first[name], state[name]) and first[name].stride() == state[name].stride()
    assert first["part"].untyped_storage().nbytes() == 40  # not the whole of what it is a part of
    state["weight"].zero_()
    state["deep"]["steps"].append(3)
    assert first["weight"].sum() == 66 and first["deep"]["steps"] == [1, 2] and first["deep"]["pair"][1] == "x"
    again = copier.take(state)
    assert again["weight"].data_ptr() == first["weight"].data_ptr() and again["weight"].sum() == 0
