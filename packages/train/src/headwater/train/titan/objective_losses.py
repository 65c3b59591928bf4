"""Losses of objectives that are more than the cross-entropy of the labels. Each is a sum over a sample's tokens too.

Legend: B samples of a micro-batch, L tokens of a sample, V entries of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F
from torchtitan.components.loss import IGNORE_INDEX
from torchtitan.models.deepseek_v3.mtp import roll_mtp_sequence

from headwater.train.config import TrainConfig
from headwater.train.objectives import config as kinds
from headwater.train.titan.sample_loss import SampleLoss


class EvenLoss(SampleLoss):
    """Every sample counts the same: its loss is the mean over its scored tokens, times its length."""

    @dataclass(kw_only=True, slots=True)
    class Config(SampleLoss.Config):
        """As the base."""

    def losses(self, pred: Any, labels_BL: torch.Tensor, positions_BL: torch.Tensor | None) -> torch.Tensor:
        """See `SampleLoss.losses`."""
        if self.is_of_text:
            return self.of_logits(pred, labels_BL)
        scored_B = super().tokens(labels_BL)
        return self.of_logits(pred, labels_BL) * (self.tokens(labels_BL) / scored_B.clamp(min=1))

    def tokens(self, labels_BL: torch.Tensor) -> torch.Tensor:
        """See `SampleLoss.tokens`: all of a sample's, where any is scored."""
        return (super().tokens(labels_BL) > 0) * labels_BL.shape[1]


class ReplacedTokenLoss(SampleLoss):
    """The generator's cross-entropy of the masked tokens, and λ times the detection's of all (ELECTRA, section 2).

    A sample's detection loss is its mean over the tokens, times the number that were masked: the sum over samples, over
    all masked tokens, is then the generator's mean plus λ times the detection's.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(SampleLoss.Config):
        """As the base, and λ."""

        weight: float

    def __init__(self, config: Config, *, compile_config: Any = None) -> None:
        super().__init__(config, compile_config=compile_config)
        self.weight = config.weight

    def losses(self, pred: Any, labels_BL: torch.Tensor, positions_BL: torch.Tensor | None) -> torch.Tensor:
        """See `SampleLoss.losses`.

        Args:
            pred: The generator's logits [B, L, V], what it put at each place [B, L], and the scores [B, L].
            labels_BL: The tokens that were masked.
            positions_BL: Not used.
        """
        logits_BLV, put_BL, scores_BL = pred
        masked_BL = labels_BL != IGNORE_INDEX
        replaced_BL = masked_BL & (put_BL != labels_BL)
        found_BL = F.binary_cross_entropy_with_logits(scores_BL.float(), replaced_BL.float(), reduction="none")
        return self.of_logits(logits_BLV, labels_BL) + self.weight * found_BL.mean(dim=1) * masked_BL.sum(dim=1)


class MultiTokenLoss(SampleLoss):
    """The next token's cross-entropy, and in training λ times the mean of those of the tokens after it (DeepSeek-V3,
    equations 24 and 25). A token beyond the document's end is not predicted.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(SampleLoss.Config):
        """As the base, and λ."""

        weight: float

    def __init__(self, config: Config, *, compile_config: Any = None) -> None:
        super().__init__(config, compile_config=compile_config)
        self.weight = config.weight

    def losses(self, pred: Any, labels_BL: torch.Tensor, positions_BL: torch.Tensor | None) -> torch.Tensor:
        """See `SampleLoss.losses`.

        Args:
            pred: Logits of the next token and of those after it, each [B, L, V].
            labels_BL: The next tokens.
            positions_BL: Places in the documents.
        """
        loss_B = self.of_logits(pred[0], labels_BL)
        if self.is_of_text or not torch.is_grad_enabled():
            return loss_B
        assert positions_BL is not None
        for shift, logits_BLV in enumerate(pred[1:], 1):
            later_BL = roll_mtp_sequence(labels_BL, shift=shift, fill_value=IGNORE_INDEX, positions=positions_BL)
            assert isinstance(later_BL, torch.Tensor)
            loss_B = loss_B + self.of_logits(logits_BLV, later_BL) * (self.weight / (len(pred) - 1))
        return loss_B


def loss_config(config: TrainConfig) -> SampleLoss.Config:
    """The loss of a run."""
    shared: dict[str, Any] = {"_z_loss": config.z_loss, "_smoothing": config.label_smoothing}
    match objective := config.objective:
        case kinds.CausalAndMasked():
            return EvenLoss.Config(**shared)
        case kinds.ReplacedToken():
            return ReplacedTokenLoss.Config(weight=objective.weight, **shared)
        case kinds.MultiToken():
            return MultiTokenLoss.Config(weight=objective.weight, **shared)
        case _:
            return SampleLoss.Config(**shared)
