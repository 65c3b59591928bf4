"""Shared runs: training is the expensive part, so whole runs are made once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from train_fixtures import STEPS, make_run, write_recipe


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with tokenizer and tokens, to be copied."""
    return make_run(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def long_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of `STEPS` steps with a checkpoint every 5."""
    path = tmp_path_factory.mktemp("recipe") / "long.yaml"
    return write_recipe(
        path, steps=STEPS, checkpoint={"every": 5, "keep_last": 2, "keep_best": 1},
        validation={"every": 10, "batches": 2},
    )  # fmt: skip


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path, long_recipe: Path) -> Path:
    """A run of `long_recipe` that nothing interrupted. Tests must not change it."""
    import shutil

    from headwater.train.runner import train

    run = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(data, run)
    assert train(long_recipe, run).state == "finished"
    return run


@pytest.fixture(scope="session")
def torchao_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for `sys.path` that has torchao, which the environment lacks; tests that use it are marked `network`."""
    folder = tmp_path_factory.mktemp("torchao")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder),
               "torchao>=0.18,<0.19"]  # fmt: skip
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("torchao could not be installed from the package index")
    return folder


@pytest.fixture
def torchao(torchao_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchao, in this process and in those that it starts."""
    monkeypatch.syspath_prepend(torchao_path)


@pytest.fixture
def titan_started() -> Iterator[None]:
    """What torchtitan's parts need around them: the CPU shims and a process group."""
    from headwater.train import titan

    titan.start("cpu", 1, 1)
    yield
    titan.stop()


@pytest.fixture
def trainer_class() -> Iterator[Any]:
    """The trainer, whose methods a test may replace for its duration."""
    from headwater.train import titan

    titan.start("cpu", 1, 1)
    from headwater.train.titan.trainer import HeadwaterTrainer

    saved = dict(vars(HeadwaterTrainer))
    yield HeadwaterTrainer
    for name, value in list(vars(HeadwaterTrainer).items()):
        if name not in saved:  # set again, not deleted: monkeypatch, which may come later, deletes what it set
            setattr(HeadwaterTrainer, name, getattr(super(HeadwaterTrainer, HeadwaterTrainer), name))
        elif saved[name] is not value:
            setattr(HeadwaterTrainer, name, saved[name])
    titan.stop()
