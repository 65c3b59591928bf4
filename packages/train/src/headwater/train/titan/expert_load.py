"""How evenly the experts of a mixture are used, layer by layer, and which of them nothing goes to.

Each block counts in its forward pass how many tokens go to each expert; torchtitan's hook moves the experts' biases by
the counts of a step and sets them to zero (Wang et al., 2024, arXiv:2408.15664). What is measured here is added up on
the device before that, and summed over the processes every `EVERY` steps.

Shapes: N layers with experts, E experts of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import nn

from headwater.core import metrics as names
from headwater.core.run import ModelShape
from headwater.train.shards import local
from headwater.train.titan.experts import expert_blocks
from headwater.train.titan.updates import EVERY

DEAD_AFTER = 100
"""Steps without a token after which an expert counts as dead."""
LABELLED = 64
"""Layers that have a label of their own; deeper ones share one."""


class ExpertLoad:
    """Counts the tokens of each expert.

    Args:
        parts: The parts of the model that this process has.
        shape: Of the model.
        device: Where they are.
        tensor_group: The processes that hold other tokens of the same samples: those of tensor parallelism, where
            experts are shared out.
    """

    def __init__(
        self, parts: Sequence[nn.Module], shape: ModelShape, device: torch.device,
        tensor_group: dist.ProcessGroup | None = None,
    ) -> None:  # fmt: skip
        experts = shape.experts
        self._first = experts.dense_layers if experts else 0
        self._blocks = [(number - self._first, block) for number, block in expert_blocks(parts, shape.n_layers)]
        layers = shape.n_layers - self._first if experts else 0
        layers = max([layers, *(row + 1 for row, _ in self._blocks)])  # more where there are blocks for later tokens
        self._tokens_NE = torch.zeros(layers, experts.count if experts else 0, device=device)
        self._tensor_group = tensor_group
        self._idle: list[list[int]] = []

    @torch.no_grad()
    def begin(self) -> None:
        """Sets the blocks' counts to zero before a step. The hook does so after it, unless the update is left out."""
        for _, tokens_E in self._counts():
            tokens_E.zero_()

    @torch.no_grad()
    def add(self) -> None:
        """Counts a step, before the optimizer's hook takes the counts away."""
        for row, tokens_E in self._counts():
            self._tokens_NE[row] += tokens_E

    def _counts(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Row of a block, and the tokens that went to each of its experts, as this process has them."""
        for row, block in self._blocks:
            tokens_E: torch.Tensor = block.moe.tokens_per_expert_E  # pyright: ignore
            yield row, local(tokens_E)

    def take(self, summed: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """The counts since it was last called, over all processes, of shape [N * E], on the device.

        Args:
            summed: Adds a tensor up over the processes that hold other tokens or other layers.
        """
        taken = self._tokens_NE.flatten()
        self._tokens_NE = torch.zeros_like(self._tokens_NE)
        if not len(taken):
            return taken
        if self._tensor_group is not None:
            dist.all_reduce(taken, group=self._tensor_group)
        return summed(taken)

    def forget(self) -> None:
        """Starts anew: the steps that were counted are undone."""
        self._tokens_NE.zero_()
        self._idle = []

    def series(self, tokens: Sequence[float]) -> dict[str, float]:
        """The metrics of `EVERY` steps, on the host.

        Args:
            tokens: From `take`; empty when nothing was measured.
        """
        width = self._tokens_NE.shape[1]
        if not len(tokens):
            return {}
        layers = [tokens[start : start + width] for start in range(0, len(tokens), width)]
        self._idle = self._idle or [[0] * width for _ in layers]
        for idle, layer in zip(self._idle, layers, strict=True):
            idle[:] = [0 if count else steps + EVERY for steps, count in zip(idle, layer, strict=True)]
        dead = sum(steps >= DEAD_AFTER for idle in self._idle for steps in idle)
        return {names.TRAIN_DEAD_EXPERTS.name: float(dead), **_loads(layers, self._first)}


def _loads(layers: Sequence[Sequence[float]], first: int) -> Mapping[str, float]:
    """Load and evenness of each layer; of those that share a label, the worst."""
    worst: dict[str, tuple[float, float, float]] = {}
    for number, layer in enumerate(layers):
        total = sum(layer)
        if not total:
            continue
        shares = [count / total for count in layer]
        entropy = -sum(share * math.log(share) for share in shares if share) / math.log(len(shares))
        label = str(first + number) if number < LABELLED else "deeper"
        high, low, even = worst.get(label, (0.0, math.inf, math.inf))
        worst[label] = (max(high, max(shares) * len(shares)), min(low, min(shares) * len(shares)), min(even, entropy))
    found: dict[str, float] = {}
    for label, (high, low, even) in worst.items():
        found[names.TRAIN_EXPERT_LOAD.series(layer=label, of="highest")] = high
        found[names.TRAIN_EXPERT_LOAD.series(layer=label, of="lowest")] = low
        found[names.TRAIN_EXPERT_EVENNESS.series(layer=label)] = even
    return found
