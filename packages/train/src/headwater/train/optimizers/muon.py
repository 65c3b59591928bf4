"""Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/): momentum, orthogonalised.

`torch.optim.Muon` is the reference. It has two of the four scalings, bfloat16 only, no stacks of matrices, and takes a
projection of queries, keys and values for one matrix.

A matrix that is sharded is gathered, orthogonalised by every process that has a part of it, and each keeps its part of
the update: the same as on one process, for one gather of the matrices a step. The experts of a layer that are sharded
by expert stay where they are.

Legend: E matrices of a stack, O rows (outputs), I columns (inputs).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from headwater.train.shards import write_part

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration, chosen for the steepest slope at zero (Jordan et al.)."""
EPS = 1e-7


def scale_of(scaling: str, rows: int, columns: int) -> float:
    """Factor of the update of a matrix (see `optimizers.config.Muon.scaling`)."""
    if scaling == "plain":
        return 1.0
    if scaling == "original":
        return math.sqrt(max(1.0, rows / columns))
    if scaling == "spectral":
        return math.sqrt(rows / columns)
    return 0.2 * math.sqrt(max(rows, columns))


def orthogonalised(matrix_EOI: torch.Tensor, iterations: int, dtype: torch.dtype) -> torch.Tensor:
    """About the nearest matrix with orthonormal rows or columns: its singular values come to lie around 1.

    Args:
        matrix_EOI: A matrix, or a stack of them.
        iterations: Of Newton–Schulz.
        dtype: Of the products.
    """
    first, second, third = COEFFICIENTS
    tall = matrix_EOI.shape[-2] > matrix_EOI.shape[-1]
    result = matrix_EOI.to(dtype, copy=True)
    result = result.mT if tall else result
    result.div_(result.norm(dim=(-2, -1), keepdim=True).clamp(min=EPS))
    multiply_add = torch.addmm if result.ndim == 2 else torch.baddbmm
    for _ in range(iterations):
        gram = result @ result.mT
        polynomial = multiply_add(gram, gram, gram, beta=second, alpha=third)
        result = multiply_add(result, polynomial, result, beta=first)
    return result.mT if tall else result


class Muon(torch.optim.Optimizer):
    """Trains matrices, and stacks of them, also where they are sharded.

    Args:
        params: Groups of parameters of two or three dimensions.
        lr: Learning rate.
        momentum: Decay of the running mean of the gradient.
        nesterov: Whether the step looks ahead along it.
        weight_decay: Decoupled; multiplied by the learning rate.
        scaling: As `scale_of`.
        iterations: Of Newton–Schulz.
        precision: Name of the type of its products.
        heads: Of a fused projection: queries of a key, and width of a head; else none. Its rows are, for each key, its
            queries, the key and the value; the three are orthogonalised apart.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.95, nesterov: bool = True,
        weight_decay: float = 0.1, scaling: str = "original", iterations: int = 5, precision: str = "bfloat16",
        heads: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay, "scaling": scaling,
            "iterations": iterations, "precision": precision, "heads": heads,
        })  # fmt: skip

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._train(parameter, parameter.grad, group)

    def _train(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        mean = state["momentum_buffer"]
        mean.lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(mean, group["momentum"]) if group["nesterov"] else mean
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        if not isinstance(ahead, DTensor):
            parameter.add_(_update(ahead, group), alpha=-group["lr"])
        elif _whole_matrices(ahead):
            local = parameter.to_local()  # type: ignore[attr-defined]
            local.add_(_update(ahead.to_local(), group), alpha=-group["lr"])
        else:
            update: Any = torch.empty_like(ahead)
            write_part(update, _update(ahead.full_tensor(), group))
            parameter.add_(update, alpha=-group["lr"])


def _whole_matrices(tensor: DTensor) -> bool:
    """Whether a process has none of its matrices in part: a stack that is sharded by matrix, or nothing sharded."""
    sharded = [placement for placement in tensor.placements if not placement.is_replicate()]
    return all(placement.is_shard(0) and tensor.ndim == 3 for placement in sharded)


def _update(ahead: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
    """The scaled update of a whole parameter."""
    if group["heads"] is None:
        return _scaled(ahead, group)
    queries, width = group["heads"]
    columns = ahead.shape[-1]
    by_key = ahead.reshape(-1, queries + 2, width, columns)
    parts = by_key.split([queries, 1, 1], dim=1)
    updates = [_scaled(part.reshape(-1, columns), group).view(part.shape) for part in parts]
    return torch.cat(updates, dim=1).view(ahead.shape)


def _scaled(matrix_EOI: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
    if matrix_EOI.numel() == 0:
        return matrix_EOI
    result = orthogonalised(matrix_EOI, group["iterations"], getattr(torch, group["precision"]))
    return result.to(matrix_EOI.dtype) * scale_of(group["scaling"], *matrix_EOI.shape[-2:])
