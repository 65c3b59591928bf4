"""The recipe's `train.mup` section: the width at which the learning rate was found, and how it is carried to others.

Maximal update parametrisation (Yang et al., 2022, arXiv:2203.03466): with `m = width / base_width`, for Adam and its
like, weights of the blocks start `1 / sqrt(m)` times as large and learn at `1 / m` of the rate; the head starts at
`1 / m` and learns at `1 / m`; embedding and norms stay. (Their table 8 has a multiplier at the head in place of both
of its factors: for Adam it is the same.) At the base width nothing changes. A head's width is to stay as it is: a wider
model has more heads.

Muon's update of a matrix has a size that depends on its shape alone: with the scalings "original" and "spectral" the
one that is wanted at every width, with "plain" that of a square matrix. With "match_rms_adamw" it grows with sqrt(m),
which is taken out.
"""

from __future__ import annotations

import math

from pydantic import Field

from headwater.core.config import Section, Whole
from headwater.train.optimizers.config import Muon, Optimizer


class Mup(Section):
    """Width transfer.

    Attributes:
        base_width: `model.dim` at which the learning rate was chosen.
    """

    base_width: Whole = Field(ge=8)

    def rate_factor(self, optimizer: Optimizer, width: int, *, matrix: bool, head: bool) -> float:
        """Of the learning rate of a parameter.

        Args:
            optimizer: The section.
            width: Of the model.
            matrix: Whether it is a matrix of a block.
            head: Whether it is the output head.
        """
        if not matrix and not head:
            return 1.0
        ratio = self.base_width / width
        if matrix and isinstance(optimizer, Muon):
            return math.sqrt(ratio) if optimizer.scaling == "match_rms_adamw" else 1.0
        return ratio

    def std_factor(self, width: int, *, head: bool) -> float:
        """Of the standard deviation of the initial weights: of the head, or of a matrix of a block."""
        ratio = self.base_width / width
        return ratio if head else math.sqrt(ratio)
