"""Replaced-token detection (ELECTRA: Clark et al., ICLR 2020, arXiv:2003.10555): a small generator fills masked
tokens, and the model says of every token whether it was replaced.

This is the part that is done to samples: masks as in masked language modelling, all of them the mask token, and a
number for each token by which the generator's word is drawn, so that a sample is the same on every process and after a
resume. The two networks are in `titan/replaced_token.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from headwater.train.objectives.draws import Draws
from headwater.train.objectives.examples import I64, IGNORE, Examples, Place
from headwater.train.objectives.masked import Masked


class Replaced(Masked):
    """Replaced-token detection."""

    def rows(
        self, tokens_BM: I64, positions_BL: I64, numbers: Sequence[int], places: Sequence[Place] | None = None,
        purpose: str = "train",
    ) -> Examples:  # fmt: skip
        """See `Objective.rows`."""
        made = super().rows(tokens_BM, positions_BL, numbers, places, purpose)
        length = positions_BL.shape[1]
        chances = [Draws(self.seed, f"{purpose} replaced", number).uniform(length) for number in numbers]
        drawn = np.where(made.labels_BL == IGNORE, -1.0, np.stack(chances))
        return replace(made, chances_BL=drawn.astype(np.float32))
