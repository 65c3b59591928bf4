"""Cross-entropy that also says what each sample adds to it, at no further pass over the logits.

Legend: B samples of a micro-batch, L tokens of a sample on this process, V entries of the vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.distributed.tensor import DTensor, Shard
from torch.nn import functional as F
from torchtitan.components.loss import IGNORE_INDEX, CrossEntropyLoss, _LossParallelCrossEntropy


def penalised_losses(
    logits_BLV: torch.Tensor, labels_BL: torch.Tensor, z_loss: float, smoothing: float
) -> torch.Tensor:
    """As `sample_losses`, with what training alone adds (see `train.config`); the logits are whole.

    Args:
        logits_BLV: Whole.
        labels_BL: The next tokens.
        z_loss: Weight of the squared log of the softmax's denominator.
        smoothing: Share of the target that is spread over the vocabulary.
    """
    logits_NV, labels_N = logits_BLV.flatten(0, 1).float(), labels_BL.flatten()
    losses_N = F.cross_entropy(
        logits_NV, labels_N, reduction="none", ignore_index=IGNORE_INDEX, label_smoothing=smoothing
    )  # fmt: skip
    if z_loss:
        squares_N = logits_NV.logsumexp(dim=1).square()
        losses_N = losses_N + z_loss * squares_N * (labels_N != IGNORE_INDEX)
    return losses_N.view(labels_BL.shape).sum(dim=1)


def sample_losses(logits_BLV: torch.Tensor, labels_BL: torch.Tensor) -> torch.Tensor:
    """The summed cross-entropy of each sample's tokens, in nats, shape [B].

    With tensor parallelism the logits are shards of the vocabulary, and every process gets the same. With context
    parallelism it is the part of a sample's tokens that this process has.
    """
    labels_N = labels_BL.flatten()
    if isinstance(logits_BLV, DTensor):
        if logits_BLV.placements != (Shard(logits_BLV.ndim - 1),):
            raise RuntimeError(f"the loss cannot take logits that are cut up as {logits_BLV.placements}")
        losses_N = _LossParallelCrossEntropy.apply(
            logits_BLV.to_local().flatten(0, 1).float(), labels_N, logits_BLV.device_mesh.get_group("tp"),
            logits_BLV.shape[-1], "none",
        )  # fmt: skip
    else:
        losses_N = F.cross_entropy(
            logits_BLV.flatten(0, 1).float(), labels_N, reduction="none", ignore_index=IGNORE_INDEX
        )
    return losses_N.view(labels_BL.shape).sum(dim=1)


class SampleLoss(CrossEntropyLoss):
    """torchtitan's loss, the sum over the tokens, from the sums of the samples, which it keeps.

    Attributes:
        is_of_text: Whether the loss of the text itself is asked for (see `of_text`).
        kept: Of the latest micro-batches, oldest first: each sample's loss, shape [B].
        scaled: What multiplies the gradients of a loss, and not its value (`loss_scale`).
        keeping: Whether they are kept without a backward pass too.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(CrossEntropyLoss.Config):
        """As torchtitan's, with the weights of what training adds."""

        _z_loss: float = 0.0
        _smoothing: float = 0.0

    def __init__(self, config: Config, *, compile_config: Any = None) -> None:
        self.fn = sample_losses
        self._maybe_compile(compile_config)
        self._plain = self.fn
        if config._z_loss or config._smoothing:
            self.fn = partial(penalised_losses, z_loss=config._z_loss, smoothing=config._smoothing)
            self._maybe_compile(compile_config)
        self.kept: deque[torch.Tensor] = deque()
        self.is_of_text = False
        self.scaled: Callable[[torch.Tensor], torch.Tensor] = lambda loss: loss
        self.keeping = False

    def __call__(
        self, pred: Any, labels: torch.Tensor, global_valid_tokens: torch.Tensor | None = None, **more: Any
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss of a micro-batch, as a share of the global batch's mean where its number of tokens is given."""
        losses_B = self.losses(pred, labels, more.get("positions"))
        if self.keeping or torch.is_grad_enabled():
            self.kept.append(losses_B.detach())
        loss = losses_B.sum()
        return self.scaled(loss if global_valid_tokens is None else loss / global_valid_tokens), {}

    @contextmanager
    def of_text(self) -> Iterator[None]:
        """For a while, the cross-entropy of the labels and nothing else: what it takes to say a text."""
        self.is_of_text = True
        try:
            yield
        finally:
            self.is_of_text = False

    def losses(self, pred: Any, labels_BL: torch.Tensor, positions_BL: torch.Tensor | None) -> torch.Tensor:
        """The loss of each sample, shape [B]: what its tokens lose together."""
        return self.of_logits(pred, labels_BL)

    def of_logits(self, logits_BLV: torch.Tensor, labels_BL: torch.Tensor) -> torch.Tensor:
        """The cross-entropy of each sample's labels, shape [B]; in training with what is added to it."""
        return (self.fn if torch.is_grad_enabled() else self._plain)(logits_BLV, labels_BL)

    def tokens(self, labels_BL: torch.Tensor) -> torch.Tensor:
        """For how many tokens the loss of each sample counts, int64 of shape [B]: those that are scored."""
        return (labels_BL != IGNORE_INDEX).sum(dim=1)

    def take(self, micro_batches: int) -> list[torch.Tensor]:
        """The losses of the last micro-batches, each of shape [B]; none where another process computes them.

        A pipeline passes micro-batches through when it is set up, too: only the last ones are the step's.
        """
        kept = list(self.kept)[-micro_batches:]
        self.kept.clear()
        return kept
