"""Adafactor (Shazeer and Stern, 2018, arXiv:1804.04235), torch's, also where parameters are sharded.

torch's own takes a shard's size for the parameter's, and cannot sum over the rows of a sharded matrix. Here a sharded
parameter and its gradient are gathered, one at a time, every process trains the whole, and keeps its part. The state, a
number for each row and column, is the same on every process, so it does not depend on the layout.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.optim._adafactor import adafactor

from headwater.train.shards import write_part


class Adafactor(torch.optim.Adafactor):
    """As `torch.optim.Adafactor`."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._train(parameter, parameter.grad, group)

    def _train(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        weight, whole = _whole(parameter), _whole(gradient)
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            if whole.ndim > 1:
                state["row_var"] = whole.new_zeros(*whole.shape[:-1], 1)
                state["col_var"] = whole.new_zeros(*whole.shape[:-2], 1, whole.shape[-1])
            else:
                state["variance"] = torch.zeros_like(whole)
        eps1, eps2 = group["eps"]
        adafactor(
            [weight], [whole], [state.get("row_var")], [state.get("col_var")], [state.get("variance")], [state["step"]],
            foreach=False, d=group["d"], lr=group["lr"], beta2_decay=group["beta2_decay"],
            weight_decay=group["weight_decay"], eps1=eps1, eps2=eps2, maximize=group["maximize"],
        )  # fmt: skip
        if isinstance(parameter, DTensor):
            write_part(parameter, weight)


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
