"""A whole training in its trackers: what each library reads back is what `metrics.jsonl` says, step by step."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
import wandb_files
import yaml
from line_runs import headwater

from headwater.core.layout import RunLayout
from headwater.core.metrics import TRAIN_LOSS, TRAIN_STEP
from headwater.monitor.trackers import tag_of
from headwater.train.synthetic import make_tokenizer, make_tokens

STEPS = 12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunLayout:
    pytest.importorskip("tensorboard")
    pytest.importorskip("wandb")
    folder = tmp_path_factory.mktemp("trackers")
    run = RunLayout(folder / "run")
    make_tokenizer(run, 64)
    make_tokens(run, "words", 200, vocab_size=64, seed=1)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({
        "name": "tracked", "mixture": {"weights": {"words": 1}},
        "train": {
            "model": {"dim": 32, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "ffn_dim": 64}, "seq_len": 64,
            "global_batch": 4, "micro_batch": 4, "steps": STEPS, "threads": 1, "device": "cpu",
            "validation": {"every": 4, "batches": 2}, "checkpoint": {"every": 4},
            "metrics": {"tensorboard": {}, "wandb": {}},
        },
    }))  # fmt: skip
    headwater("train", "run", "--recipe", folder / "recipe.yaml", "--run", run.root)
    return run


def written(run: RunLayout) -> dict[tuple[int, str], float]:
    """Of each step and metric, under the tag that trackers know it by, what the run's own log has last."""
    found: dict[tuple[int, str], float] = {}
    for line in (run.train / "metrics.jsonl").read_text().splitlines():
        row: dict[str, Any] = json.loads(line)
        step = row.pop("step")
        del row["time_seconds"]
        found |= {(step, tag_of(series)): float(value) for series, value in row.items()}
    return found


@pytest.mark.slow
def test_tensorboard_has_all_of_it(run: RunLayout) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(run.root / "trackers" / "tensorboard"), size_guidance={"scalars": 0})
    read.Reload()
    found = {(event.step, tag): event.value for tag in read.Tags()["scalars"] for event in read.Scalars(tag)}
    expected = written(run)
    assert len([step for step, tag in expected if tag == TRAIN_LOSS.name]) == STEPS
    # Its files hold single precision.
    assert found == {key: struct.unpack("f", struct.pack("f", value))[0] for key, value in expected.items()}


@pytest.mark.slow
def test_wandb_has_all_of_it(run: RunLayout) -> None:
    found: dict[tuple[int, str], float] = {}
    for path in wandb_files.finished(run.root / "trackers" / "wandb"):
        for row in wandb_files.history(path):
            step = row[TRAIN_STEP.name]
            found |= {(step, tag): float(value) for tag, value in row.items()}
    expected = written(run)
    # The step is W&B's axis, and so in every row of its own.
    expected |= {(step, TRAIN_STEP.name): float(step) for step, _ in expected}
    assert found == expected
