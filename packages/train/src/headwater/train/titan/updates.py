"""How far an optimizer step moves the weights, as a share of how large they are: the update-to-weight ratio.

A useful rule of thumb is about 0.001 for a matrix (Karpathy, Stanford's CS231n notes, "Ratio of weights:updates"): well
above, and the learning rate is too high; well below, and too low.

What is compared is what really happened: the weights before the optimizer step with those after it. A copy of all of
them would be a quarter more of the optimizer's memory, so a process compares an even sample of each tensor that it
holds: all elements of a small one, `SAMPLE` of a large one, which gives a tensor's norm within about half a percent.

Legend: P tensors of this process, G groups of parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor, Replicate

EVERY = 10
"""Steps between two measurements."""
SAMPLE = 1 << 16
GROUPS = ("embedding", "attention", "feed_forward", "norm", "head", "other")
_PARTS = {
    "tok_embeddings": "embedding", "pos_embeddings": "embedding", "lm_head": "head", "attention": "attention",
    "feed_forward": "feed_forward", "moe": "feed_forward",
}  # fmt: skip


def group_of(name: str) -> str:
    """The group of `GROUPS` that a parameter belongs to, by its name in torchtitan's models."""
    parts = name.split(".")
    if any(part.endswith("norm") for part in parts):
        return "norm"
    return next((_PARTS[part] for part in parts if part in _PARTS), "other")


def copies_of(parameter: torch.Tensor, processes: int) -> int:
    """How many of the processes that hold a parameter hold the same elements of it.

    Args:
        parameter: Plain, or cut up over some of the processes' mesh dimensions.
        processes: All that hold it: those of one pipeline stage.
    """
    if not isinstance(parameter, DTensor):
        return processes
    mesh, parts = parameter.device_mesh, 1
    for dimension, placement in enumerate(parameter.placements):
        if not isinstance(placement, Replicate):
            parts *= mesh.size(dimension)
    return processes // parts


class UpdateRatio:
    """Measures one optimizer step, between `before` and `after`.

    Args:
        parts: The parts of the model that this process has.
        processes: How many processes hold the same parts: those of its pipeline stage.
        device: Where they are.
    """

    @torch.no_grad()
    def __init__(self, parts: Sequence[nn.Module], processes: int, device: torch.device) -> None:
        named = [(name, parameter) for part in parts for name, parameter in part.named_parameters()]
        named = [(name, parameter) for name, parameter in named if _local(parameter).numel()]
        self._parameters = [parameter for _, parameter in named]
        self._old: list[torch.Tensor] = []
        weights = torch.zeros(len(GROUPS), len(named))
        for column, (name, parameter) in enumerate(named):
            local = _local(parameter)
            scale = local.numel() / _sample(local).numel() / copies_of(parameter, processes)
            weights[GROUPS.index(group_of(name)), column] = scale
        self._weights_GP = weights.to(device)

    @torch.no_grad()
    def before(self) -> None:
        """Keeps what the weights are."""
        self._old = [_sample(_local(parameter)).clone() for parameter in self._parameters]

    @torch.no_grad()
    def after(self) -> torch.Tensor:
        """The ratio of each of `GROUPS` over all processes, shape [G]; NaN where the model has none. On the device."""
        new = [_sample(_local(parameter)) for parameter in self._parameters]
        moved = torch._foreach_sub(new, self._old)
        norms_2P = torch.stack([torch.stack(torch._foreach_norm(tensors)) for tensors in (moved, new)])
        self._old = []
        squares_2G = norms_2P.float().square() @ self._weights_GP.T
        if dist.get_world_size() > 1:
            dist.all_reduce(squares_2G)
        return (squares_2G[0] / squares_2G[1]).sqrt()


def _local(parameter: torch.Tensor) -> torch.Tensor:
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter.detach()


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    """At most `SAMPLE` elements, at even distances: an odd one, so that it does not run down a column of a matrix."""
    distance = -(-tensor.numel() // SAMPLE)
    return tensor.flatten()[:: distance | 1]
