"""Dynamic loss scaling for float16 (Micikevicius et al., 2018, arXiv:1710.03740, section 3.2).

Gradients below 6e-8 are zero in float16. So the loss is multiplied before the backward pass, and the gradients divided
after it; a scale under which they overflow is halved, and the step's update left out; one that held for 2,000 steps is
doubled. All of it happens on the device, with torch's own kernels of `GradScaler`, and the state is in the checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import torch

from headwater.train.shards import local

FIRST, GROWTH, BACKOFF, INTERVAL = 2.0**16, 2.0, 0.5, 2000
"""The first scale, and how it changes: as torch's `GradScaler` by default."""
SMALLEST = 1.0
"""Gradients that are not finite at this scale are no overflow."""


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(scale)
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (scale,) = ctx.saved_tensors
        return gradients[0] * scale, None


class LossScale:
    """The scale of a training; a stateful part of its checkpoints.

    Args:
        device: Where the gradients are.
        on: Whether there is one; otherwise nothing is changed.
    """

    def __init__(self, device: torch.device, *, on: bool) -> None:
        self.on = on
        self._scale = torch.full((), FIRST, device=device)
        self._held = torch.zeros((), dtype=torch.int32, device=device)

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """A loss of the same value, whose gradients are larger by the scale."""
        return _Scaled.apply(loss, self._scale) if self.on else loss  # pyright: ignore[reportReturnType]

    @torch.no_grad()
    def unscale(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Divides the gradients by the scale; those that overflowed stay as they are."""
        if not self.on:
            return
        gradients = [each.grad for each in parameters if each.grad is not None]
        torch._foreach_mul_([local(gradient) for gradient in gradients], self._scale.reciprocal())

    @torch.no_grad()
    def update(self, loss: torch.Tensor, grad_norm: torch.Tensor) -> torch.Tensor:
        """Sets the scale of the next step, alike on all processes.

        Args:
            loss: Of the global batch, on which all processes agree.
            grad_norm: Of the unscaled gradients, likewise.

        Returns:
            Whether the gradients overflowed, and the scale of the step: float32 of shape [2], on the device; of shape
            [0] where there is no scale.
        """
        if not self.on:
            return self._scale.new_empty(0)
        overflowed = (~grad_norm.isfinite() & loss.isfinite() & (self._scale > SMALLEST)).float()
        found = torch.stack([overflowed, self._scale])
        torch._amp_update_scale_(self._scale, self._held, overflowed, GROWTH, BACKOFF, INTERVAL)
        return found

    def state_dict(self) -> dict[str, Any]:
        """The scale, and how many steps it has held, as one string of JSON: the checkpoint keeps it as it is."""
        return {"json": json.dumps({"scale": float(self._scale), "held": int(self._held)})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a state."""
        state = json.loads(state_dict["json"])
        self._scale.fill_(state["scale"])
        self._held.fill_(state["held"])
