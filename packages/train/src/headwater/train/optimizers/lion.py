"""Lion (Chen et al., 2023, arXiv:2302.06675, algorithm 2), which torch does not have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from headwater.train.shards import local


class Lion(torch.optim.Optimizer):
    """Steps along the sign of `beta1 m + (1 - beta1) g`, where the momentum `m` decays with `beta2`.

    It looks at one element at a time, so that a shard of a parameter is trained as the whole one is.

    Args:
        params: Parameters or groups.
        lr: Learning rate.
        betas: Weight of the momentum in the update, and its decay.
        weight_decay: Decoupled; multiplied by the learning rate.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step."""
        for group in self.param_groups:
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not trained:
                continue
            for parameter in trained:
                if not self.state[parameter]:
                    self.state[parameter]["momentum"] = torch.zeros_like(parameter)
            weights = [local(parameter) for parameter in trained]
            gradients = [local(parameter.grad) for parameter in trained]
            momenta = [local(self.state[parameter]["momentum"]) for parameter in trained]
            beta1, beta2 = group["betas"]
            updates = torch._foreach_mul(momenta, beta1)
            torch._foreach_add_(updates, gradients, alpha=1 - beta1)
            torch._foreach_sign_(updates)
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(weights, updates, alpha=-group["lr"])
            torch._foreach_mul_(momenta, beta2)
            torch._foreach_add_(momenta, gradients, alpha=1 - beta2)
