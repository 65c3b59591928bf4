"""Adaptive clipping on the device (see `train.clipping`): nothing here waits for a figure.

What the limits are learned from is part of the checkpoint. A step whose update is left out teaches nothing.

Legend: P parameters of this process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torchtitan.components.checkpointer.utils import canonical_fqn

from headwater.train.clipping import AdaGC, AdaptiveClip, ZClip
from headwater.train.shards import local

EPS = 1e-6


class Clipper(Protocol):
    """Clips the gradients of a step besides the fixed limit."""

    def fixed(self, step: int, max_norm: float) -> float:
        """The limit of the whole gradient's norm in a step."""
        ...

    def clip(self, step: int, norm: torch.Tensor) -> torch.Tensor:
        """Clips the gradients, and says whether it changed any; `norm` is what theirs is after the fixed limit. Both
        are 0-dimensional.
        """
        ...

    def keep(self, refused: torch.Tensor) -> None:
        """Keeps what was learned from the step, unless `refused` is 1."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        ...


def clipper(config: AdaptiveClip | None, parts: Sequence[nn.Module], device: torch.device) -> Clipper | None:
    """The clipper of a recipe; none if it names none."""
    if config is None:
        return None
    # Activation checkpointing puts a module around a block: the names in the checkpoint are those without it.
    named = [(canonical_fqn(name), parameter) for part in parts for name, parameter in part.named_parameters()]
    if isinstance(config, ZClip):
        return ZClipper(config, [parameter for _, parameter in named], device)
    return AdaGcClipper(config, dict(named), device)


class ZClipper:
    """ZClip: one limit for the norm of the whole gradient.

    Args:
        config: The section.
        parameters: Of this process.
        device: Where they are.
    """

    def __init__(self, config: ZClip, parameters: Sequence[torch.Tensor], device: torch.device) -> None:
        self._config, self._parameters = config, parameters
        # Norms seen, their sum and the sum of their squares in the warmup; then mean and variance.
        self._state = torch.zeros(5, dtype=torch.float64, device=device)
        self._next = self._state

    def fixed(self, step: int, max_norm: float) -> float:
        """`clip_norm`."""
        return max_norm

    @torch.no_grad()
    def clip(self, step: int, norm: torch.Tensor) -> torch.Tensor:
        """As the protocol has it."""
        factor, self._next = zclip(self._state, norm.double(), self._config)
        torch._foreach_mul_(_gradients(self._parameters), factor.float())
        return factor < 1

    def keep(self, refused: torch.Tensor) -> None:
        """As the protocol has it."""
        self._state = torch.where(refused.bool(), self._state, self._next)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"norms": self._state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self._state = state_dict["norms"].to(self._state.device)


def zclip(state: torch.Tensor, norm: torch.Tensor, config: ZClip) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of ZClip.

    Args:
        state: Norms seen in the warmup, their sum and the sum of their squares; mean and variance after it; shape [5].
        norm: Of the gradient.
        config: Decay, threshold and warmup.

    Returns:
        The factor of the gradient, and the next state.
    """
    count, total, squares, mean, variance = state.unbind()
    warm = count < config.warmup_steps
    deviation = variance.sqrt() + EPS
    score = (norm - mean) / deviation
    over = ~warm & (score > config.threshold)
    target = torch.where(over, mean + config.threshold**2 / score * deviation, norm)
    seen = torch.stack([count + 1, total + norm, squares + norm**2])
    first_mean = seen[1] / config.warmup_steps
    first = torch.stack([first_mean, (seen[2] / config.warmup_steps - first_mean**2).clamp(min=0)])
    first = torch.where(seen[0] >= config.warmup_steps, first, torch.zeros_like(first))
    new_mean = config.decay * mean + (1 - config.decay) * target
    new_variance = config.decay * variance + (1 - config.decay) * (target - new_mean) ** 2
    running = torch.stack([count, total, squares, new_mean, new_variance])
    return torch.where(over, target / norm, torch.ones_like(norm)), torch.where(warm, torch.cat([seen, first]), running)


class AdaGcClipper:
    """AdaGC: a limit for the gradient of each parameter.

    Args:
        config: The section.
        named: Name → parameter of this process.
        device: Where they are.
    """

    def __init__(self, config: AdaGC, named: dict[str, torch.Tensor], device: torch.device) -> None:
        self._config, self._names, self._parameters = config, list(named), list(named.values())
        self._norms_P = torch.zeros(len(named), device=device)  # 0: none seen
        self._next_P = self._norms_P

    def fixed(self, step: int, max_norm: float) -> float:
        """`clip_norm` in the warmup, and none after it."""
        return max_norm if step <= self._config.warmup_steps else float("inf")

    @torch.no_grad()
    def clip(self, step: int, norm: torch.Tensor) -> torch.Tensor:
        """As the protocol has it; of this process's parameters."""
        found = [torch.linalg.vector_norm(parameter.grad) for parameter in self._parameters]  # type: ignore[arg-type]
        norms_P = torch.stack([one.full_tensor() if isinstance(one, DTensor) else one for one in found]).float()
        warm = step <= self._config.warmup_steps
        factors_P, self._next_P = adagc(self._norms_P, norms_P, self._config, warm=warm)
        if not warm:
            torch._foreach_mul_(_gradients(self._parameters), list(factors_P.unbind()))
        return (factors_P < 1).any()

    def keep(self, refused: torch.Tensor) -> None:
        """As the protocol has it."""
        self._norms_P = torch.where(refused.bool(), self._norms_P, self._next_P)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint: by the parameters' names, so that it does not depend on the layout."""
        return dict(zip(self._names, self._norms_P.clone().unbind(), strict=True))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self._norms_P = torch.stack([state_dict[name] for name in self._names]).to(self._norms_P.device)


def adagc(
    running_P: torch.Tensor, norms_P: torch.Tensor, config: AdaGC, *, warm: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of AdaGC.

    Args:
        running_P: Running norms; 0 where none was seen.
        norms_P: Of the gradients.
        config: Decay and ratio.
        warm: Whether it is one of the warmup.

    Returns:
        The factor of each gradient, and the next running norms.
    """
    if warm:
        least = torch.where(running_P > 0, torch.minimum(running_P, norms_P), norms_P)
        return torch.ones_like(norms_P), least
    # A parameter that had no gradient so far has no limit yet.
    limits_P = torch.where(running_P > 0, config.ratio * running_P, norms_P)
    factors_P = (limits_P / norms_P.clamp(min=torch.finfo(norms_P.dtype).tiny)).clamp(max=1.0)
    clipped_P = factors_P * norms_P
    next_P = torch.where(running_P > 0, config.decay * running_P + (1 - config.decay) * clipped_P, clipped_P)
    return factors_P, next_P


def _gradients(parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [local(parameter.grad) for parameter in parameters if parameter.grad is not None]
