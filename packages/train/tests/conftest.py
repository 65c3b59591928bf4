"""Shared runs: training is the expensive part, so whole runs are made once."""

from __future__ import annotations

import sys
from pathlib import Path

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
