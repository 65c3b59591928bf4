"""Adaptive clipping and early stopping against plain loops over numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from headwater.train import titan
from headwater.train.clipping import AdaGC, ZClip
from headwater.train.stopping import EarlyStopping, Patience

titan.start("cpu", 1, 1)
from headwater.train.titan.clip import AdaGcClipper, ZClipper  # noqa: E402
from headwater.train.titan.clip import clipper as clipper_of  # noqa: E402

titan.stop()

NORMS = [1.0, 1.2, 0.9, 1.1, 1.0, 9.0, 1.1, 0.2, 4.0, 1.0]


def clipped(clipper: ZClipper | AdaGcClipper, parameter: torch.nn.Parameter, norm: float, step: int) -> float:
    parameter.grad = torch.tensor([norm, 0.0])
    told = bool(clipper.clip(step, parameter.grad.norm()))
    after = float(parameter.grad.norm())
    assert told == (after < norm * (1 - 1e-6))
    return after


def test_zclip_is_its_algorithm_and_goes_on_from_its_state() -> None:
    config = ZClip(name="zclip", decay=0.9, threshold=2.0, warmup_steps=4)
    parameter = torch.nn.Parameter(torch.zeros(2))
    clipper = ZClipper(config, [parameter], torch.device("cpu"))
    mean = variance = 0.0
    for step, norm in enumerate(NORMS, start=1):
        expected = norm
        if step > 4:
            deviation = math.sqrt(variance) + 1e-6
            score = (norm - mean) / deviation
            expected = mean + 4.0 / score * deviation if score > 2.0 else norm
            mean = 0.9 * mean + 0.1 * expected
            variance = 0.9 * variance + 0.1 * (expected - mean) ** 2
        assert clipped(clipper, parameter, norm, step) == pytest.approx(expected, rel=1e-5)
        clipper.keep(torch.tensor(0.0))
        if step == 4:
            mean = sum(NORMS[:4]) / 4
            variance = sum(one**2 for one in NORMS[:4]) / 4 - mean**2
        other = ZClipper(config, [parameter], torch.device("cpu"))
        other.load_state_dict({key: value.clone() for key, value in clipper.state_dict().items()})
        clipper = other


def test_a_step_that_is_left_out_teaches_nothing() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    for clipper in (
        ZClipper(ZClip(name="zclip", warmup_steps=2), [parameter], torch.device("cpu")),
        AdaGcClipper(AdaGC(name="adagc", warmup_steps=2), {"w": parameter}, torch.device("cpu")),
    ):
        clipped(clipper, parameter, 1.0, 1)
        clipper.keep(torch.tensor(0.0))
        before = {key: value.clone() for key, value in clipper.state_dict().items()}
        clipped(clipper, parameter, math.nan, 2)
        clipper.keep(torch.tensor(1.0))
        assert all(torch.equal(value, before[key]) for key, value in clipper.state_dict().items())


def test_adagc_is_its_algorithm() -> None:
    config = AdaGC(name="adagc", decay=0.9, ratio=1.05, warmup_steps=4)
    first, second = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    clipper = AdaGcClipper(config, {"a": first, "b": second}, torch.device("cpu"))
    running: dict[str, float] = {}
    for step, norm in enumerate(NORMS, start=1):
        gradients = {"a": norm, "b": 1.0}
        first.grad, second.grad = (torch.tensor([value, 0.0]) for value in gradients.values())
        limits = {name: config.ratio * running[name] for name in running if step > 4}
        told = clipper.clip(step, torch.tensor(norm))
        assert bool(told) == any(gradients[name] > limit for name, limit in limits.items())
        clipper.keep(torch.tensor(0.0))
        for (name, value), parameter in zip(gradients.items(), (first, second), strict=True):
            if step <= 4:
                running[name] = min(running.get(name, math.inf), value)
                expected = value
            else:
                expected = min(config.ratio * running[name] / value, 1.0) * value
                running[name] = 0.9 * running[name] + 0.1 * expected
            assert float(parameter.grad.norm()) == pytest.approx(expected, rel=1e-5)  # type: ignore[union-attr]
    assert {name: float(value) for name, value in clipper.state_dict().items()} == pytest.approx(running, rel=1e-5)
    assert clipper.fixed(4, 1.0) == 1.0 and clipper.fixed(5, 1.0) == math.inf


def test_adagc_keeps_its_names_when_blocks_are_wrapped() -> None:
    """Activation checkpointing may be turned on when a run goes on."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False))
    names = []
    for wrapped in (False, True):
        if wrapped:
            model[0] = checkpoint_wrapper(model[0])
        clip = clipper_of(AdaGC(name="adagc"), [model], torch.device("cpu"))
        assert clip is not None
        names.append(list(clip.state_dict()))
    assert names == [["0.weight"], ["0.weight"]]


def test_patience_counts_validations_without_a_new_best() -> None:
    patience = Patience(EarlyStopping(patience=2, min_delta=0.1))
    over = []
    for step, loss in enumerate([3.0, 2.0, 1.95, 1.8, 1.75, 1.75, 1.9], start=1):
        patience.see(step, loss)
        patience.see(step, 0.0)  # the same validation again counts for nothing
        other = Patience(EarlyStopping(patience=2, min_delta=0.1))
        other.load_state_dict(patience.state_dict())
        patience = other
        over.append(patience.over)
    assert over == [False, False, False, False, False, True, True]
    assert patience.best == (4, 1.8)
