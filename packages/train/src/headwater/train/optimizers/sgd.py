"""Stochastic gradient descent, torch's fused one, also where parameters are sharded.

torch 2.13 cannot apply the fused step to a sharded tensor, though it looks at one element at a time: here each process
applies it to what it has.
"""

from __future__ import annotations

import torch
from torch.optim.sgd import sgd

from headwater.train.shards import local


class Sgd(torch.optim.SGD):
    """As `torch.optim.SGD` with `fused`. The momentum begins at zero: the first step is torch's too."""

    found_inf: torch.Tensor | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; none where `found_inf` is 1."""
        for group in self.param_groups:
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not trained:
                continue
            momenta: list[torch.Tensor | None] = [None] * len(trained)
            if group["momentum"]:
                for parameter in trained:
                    if not self.state[parameter]:
                        self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
                momenta = [local(self.state[parameter]["momentum_buffer"]) for parameter in trained]
            sgd(
                [local(parameter) for parameter in trained], [local(parameter.grad) for parameter in trained], momenta,
                has_sparse_grad=False, foreach=False, fused=True, grad_scale=None, found_inf=self.found_inf,
                lr=group["lr"], momentum=group["momentum"], dampening=0.0, nesterov=group["nesterov"],
                weight_decay=group["weight_decay"], maximize=False,
            )  # fmt: skip
