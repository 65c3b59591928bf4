"""Optimizer state that lies in host memory between steps.

A step brings the state of some parameters to the device, trains these, takes it back, and goes on with the next. So it
is any optimizer's, on any layout, and the same to the bit as without; gradients, clipping and a step that is left out
stay what they are. What it costs is the way of the whole state to the device and back in every step. (ZeRO-Offload,
Ren et al., 2021, arXiv:2101.06840, sends gradients and weights instead, and computes the update on the host.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MethodType
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from headwater.train.optimizers.keep import keep_as_saved
from headwater.train.shards import local

PART_BYTES = 1 << 27
"""Parameters of so many bytes, or a larger one alone, have their state on the device at a time."""


def offload(optimizer: torch.optim.Optimizer, part_bytes: int = PART_BYTES) -> None:
    """Keeps the state of an optimizer in host memory, page-locked where the parameters are on a GPU.

    The copies are on the stream of the step: who reads the state on the host has to synchronize first.

    Args:
        optimizer: Changed in place.
        part_bytes: Of the parameters that are trained at a time.
    """

    def step(optimizer: torch.optim.Optimizer, closure: None = None) -> None:
        groups = optimizer.param_groups
        whole = [group["params"] for group in groups]
        try:
            for part in _parts(whole, part_bytes):
                for group, parameters in zip(groups, part, strict=True):
                    group["params"] = parameters
                homes = [(parameter, _bring(optimizer, parameter)) for group in part for parameter in group]
                type(optimizer).step(optimizer)
                for parameter, home in homes:
                    _take_back(optimizer, parameter, home)
        finally:
            for group, parameters in zip(groups, whole, strict=True):
                group["params"] = parameters

    optimizer.step = MethodType(step, optimizer)  # a method: schedulers of the learning rate wrap it
    keep_as_saved(optimizer)


def _parts(groups: Sequence[Sequence[torch.Tensor]], part_bytes: int) -> Iterator[list[list[torch.Tensor]]]:
    """The parameters that have a gradient, some at a time, group by group."""
    part: list[list[torch.Tensor]] = [[] for _ in groups]
    size = 0
    for place, parameters in enumerate(groups):
        for parameter in parameters:
            if parameter.grad is None:
                continue
            more = local(parameter).nbytes
            if size and size + more > part_bytes:
                yield part
                part, size = [[] for _ in groups], 0
            part[place].append(parameter)
            size += more
    yield part


def _bring(optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> dict[str, torch.Tensor]:
    """Brings a parameter's state to its device; returns what lies on the host."""
    state, device = optimizer.state[parameter], local(parameter).device
    home = {name: value for name, value in state.items() if _moves(value)}
    for name, value in home.items():
        part = local(value)
        state[name] = _like(value, torch.empty_like(part, device=device).copy_(part, non_blocking=True))
    return home


def _take_back(optimizer: torch.optim.Optimizer, parameter: torch.Tensor, home: dict[str, torch.Tensor]) -> None:
    state = optimizer.state[parameter]
    for name, value in state.items():
        if _moves(value):
            part = local(value)
            if name not in home:  # the first step has made it
                pinned = torch.empty_like(part, device="cpu", pin_memory=part.is_cuda)
                home[name] = _like(value, pinned)
            local(home[name]).copy_(part, non_blocking=True)
            state[name] = home[name]


def _moves(value: Any) -> bool:
    """Whether it is no single number, such as a count of steps."""
    return isinstance(value, torch.Tensor) and value.ndim > 0


def _like(value: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    return DTensor(part, value._spec, requires_grad=False) if isinstance(value, DTensor) else part
