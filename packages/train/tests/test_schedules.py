"""Learning rate schedules against their formulas, and torchtitan's own."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from train_fixtures import write_recipe

from headwater.core.config import load_section, validate
from headwater.core.errors import ConfigError
from headwater.train import titan
from headwater.train.config import TrainConfig
from headwater.train.optimizers.config import BatchScaling
from headwater.train.schedules import Schedule, Wsd, share_of_peak

STEPS, WARMUP = 40, 8


def shares(**options: Any) -> list[float]:
    schedule = config(schedule={"warmup_steps": WARMUP, **options}).schedule
    return [share_of_peak(schedule, step, STEPS) for step in range(1, STEPS + 1)]


def config(**values: Any) -> TrainConfig:
    return validate(TrainConfig, {"steps": STEPS, **values}, "train")


RISE = [step / WARMUP for step in range(1, WARMUP + 1)]
AFTER = range(WARMUP + 1, STEPS + 1)
PROGRESS = [(step - WARMUP) / (STEPS - WARMUP) for step in AFTER]
FORMULAS = {
    "constant": ({}, [1.0] * len(AFTER)),
    "linear": ({"final_ratio": 0.2}, [1 - 0.8 * part for part in PROGRESS]),
    "cosine": ({"final_ratio": 0.1}, [0.1 + 0.9 * (1 + math.cos(math.pi * part)) / 2 for part in PROGRESS]),
    "inverse_sqrt": ({}, [math.sqrt(WARMUP / step) for step in AFTER]),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_schedule_is_its_formula(name: str) -> None:
    options, expected = FORMULAS[name]
    assert shares(name=name, **options) == pytest.approx(RISE + expected, rel=1e-12)


def test_ends_are_exact() -> None:
    assert shares(name="linear", final_ratio=0.25)[-1] == 0.25
    assert shares(name="cosine", final_ratio=0.25)[-1] == 0.25
    assert shares(name="inverse_sqrt")[WARMUP - 1] == 1.0
    assert share_of_peak(config(schedule={"name": "inverse_sqrt", "warmup_steps": 0}).schedule, 4, STEPS) == 0.5
    assert share_of_peak(config(schedule={"name": "cosine", "warmup_steps": 99}).schedule, STEPS, STEPS) == 1.0


@pytest.mark.parametrize("decay", ["linear", "sqrt", "cosine"])
@pytest.mark.parametrize(("warmup", "ratio"), [(0, 0.3), (8, 0.25), (8, 0.0), (30, 0.5), (99, 1.0), (0, 1.0)])
def test_wsd_is_torchtitans_to_the_bit(decay: Any, warmup: int, ratio: float) -> None:
    titan.start("cpu", 1, 1)
    from torchtitan.components.optimizer import LRSchedulersContainer

    reference = LRSchedulersContainer.Config(
        warmup_steps=warmup, total_steps=STEPS, decay_ratio=ratio, decay_type=decay, min_lr_factor=0.05
    ).build(optimizers=[torch.optim.SGD([torch.zeros(1)], lr=1.0)], training_steps=STEPS)  # type: ignore[arg-type]
    titan.stop()
    theirs = reference.schedulers[0].lr_lambdas[0]  # type: ignore[attr-defined]
    ours: Schedule = Wsd(warmup_steps=warmup, decay_ratio=ratio, decay=decay, final_ratio=0.05)
    assert [share_of_peak(ours, step, STEPS) for step in range(1, STEPS + 1)] == [theirs(n) for n in range(STEPS)]


def test_the_learning_rate_follows_the_batch() -> None:
    assert BatchScaling(rule="linear", base_batch=8).factor(16) == 2.0
    assert BatchScaling(rule="sqrt", base_batch=4).factor(16) == 2.0
    titan.start("cpu", 1, 1)
    from headwater.train.titan.optimizers import rate_factor

    titan.stop()
    ramped = config(
        schedule={"name": "constant", "warmup_steps": 0}, global_batch=16, micro_batch=4,
        batch_ramp=[{"batch": 4, "steps": 10}], optimizer={"batch_scaling": {"rule": "sqrt", "base_batch": 16}},
    )  # fmt: skip
    assert [rate_factor(ramped, done) for done in (0, 9, 10, STEPS)] == [0.5, 0.5, 1.0, 1.0]


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("train.schedule.name=step", "name: wsd, constant, linear, cosine or inverse_sqrt"),
        ("train.schedule={name: cosine, decay_ratio: 0.1}", r"unknown key train\.schedule\.decay_ratio"),
        ("train.batch_ramp=[{batch: 2, steps: 3}]", "must be a multiple of 4"),
        ("train.batch_ramp=[{batch: 4, steps: 30}]", "more steps than the run"),
    ],
)  # fmt: skip
def test_what_does_not_belong_is_refused(tmp_path: Any, override: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_section("train", TrainConfig, write_recipe(tmp_path / "r.yaml"), [override])
