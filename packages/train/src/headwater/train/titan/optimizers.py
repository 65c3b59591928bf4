"""Optimizers and schedules as torchtitan's containers, which hold what several optimizers keep in one state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torchtitan.components.checkpointer.utils import canonical_fqn
from torchtitan.components.optimizer import LRSchedulersContainer, OptimizersContainer

from headwater.train.config import TrainConfig
from headwater.train.optimizers.adafactor import Adafactor
from headwater.train.optimizers.adamw_8bit import AdamW8bit
from headwater.train.optimizers.assign import Assignment
from headwater.train.optimizers.lion import Lion
from headwater.train.optimizers.muon import Muon
from headwater.train.optimizers.offload import offload
from headwater.train.optimizers.sgd import Sgd
from headwater.train.schedules import share_of_peak

FACTORIES: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "AdamW": torch.optim.AdamW, "AdamW8bit": AdamW8bit, "Sgd": Sgd, "Adafactor": Adafactor, "Lion": Lion, "Muon": Muon,
}  # fmt: skip
"""By the name of the recipe's class."""


def assignment_of(config: TrainConfig) -> Assignment:
    """Which optimizer trains what, by a recipe."""
    model = config.model
    queries = 1 if model.family == "gpt2" else model.n_heads // model.n_kv_heads
    return Assignment(
        optimizer=config.optimizer, n_layers=model.n_layers, tied=model.tied,
        heads=(queries, model.head_dim or model.dim // model.n_heads), mup=config.mup, width=model.dim,
    )  # fmt: skip


class HeadwaterOptimizers(OptimizersContainer):
    """torchtitan's container, with the groups that an `Assignment` makes; a part of the model may lack some of them."""

    @dataclass(kw_only=True, slots=True)
    class Config(OptimizersContainer.Config):
        """As the base, and the objects of the run that are no configuration (leading underscore)."""

        _assignment: Any = None
        _offloaded: bool = False

    def __init__(self, config: Config, *, model_parts: list[nn.Module]) -> None:
        self._assignment: Assignment = config._assignment
        self._offloaded = config._offloaded
        super().__init__(config, model_parts=model_parts)
        if self._offloaded:
            for optimizer in self.optimizers:
                offload(optimizer)
        fused = [all(group.get("fused") for group in each.param_groups) for each in self.optimizers]
        for optimizer, able in zip(self.optimizers, fused, strict=True):
            # Their kernels leave a step out on the device; torch says so only where the constructor's argument does.
            optimizer._step_supports_amp_scaling = able  # type: ignore[attr-defined]
            if not all(fused):
                begin_state(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """As torchtitan's; what is on its way to the host has come there."""
        state = super().state_dict()
        if self._offloaded and torch.cuda.is_available():
            torch.cuda.synchronize()
        return state

    @staticmethod
    def _resolve_optimizer_factory(name: str) -> Callable[..., torch.optim.Optimizer]:
        return FACTORIES[name]

    def _build_param_groups(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, model: nn.Module, *_: Any
    ) -> tuple[dict[str, list[dict[str, Any]]], dict[str, list[str]]]:
        groups: dict[Any, dict[str, Any]] = {}
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            known = canonical_fqn(name)
            assigned = self._assignment.of(known, parameter.ndim)
            group = groups.setdefault(assigned, {"params": [], "param_names": [], **dict(assigned.options)})
            group["params"].append(parameter)
            group["param_names"].append(known)
        by_optimizer: dict[str, list[dict[str, Any]]] = {}
        for assigned, group in groups.items():
            by_optimizer.setdefault(assigned.optimizer, []).append(group)
        return by_optimizer, {name: [""] * len(found) for name, found in by_optimizer.items()}


@torch.no_grad()
def begin_state(optimizer: torch.optim.Optimizer) -> None:
    """Makes the state of an optimizer that has done no step yet.

    It is there then when the first steps were left out and a checkpoint is written. The step that makes it has no
    gradient and no learning rate.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for state in optimizer.state.values():
        if "step" in state:
            state["step"] = torch.zeros_like(state["step"]) if isinstance(state["step"], torch.Tensor) else 0
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)


class HeadwaterSchedules(LRSchedulersContainer):
    """torchtitan's container of learning rate schedulers, with the schedules of `train.schedules`."""

    @dataclass(kw_only=True, slots=True)
    class Config(LRSchedulersContainer.Config):
        """As the base, and the objects of the run that are no configuration (leading underscore)."""

        _config: Any = None

        def build(self, *, optimizers: OptimizersContainer, training_steps: int) -> LRSchedulersContainer:
            """The schedulers of some optimizers."""
            return LRSchedulersContainer(optimizers, partial(rate_factor, self._config))


def rate_factor(config: TrainConfig, done: int) -> float:
    """The learning rate of the step after `done` steps, as a share of the one in the recipe."""
    share = share_of_peak(config.schedule, min(done + 1, config.steps), config.steps)
    scaling = config.optimizer.batch_scaling
    return share if scaling is None else share * scaling.factor(config.step_samples.size(done + 1))
