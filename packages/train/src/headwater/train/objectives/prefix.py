"""Prefix language modelling (Liu et al., ICLR 2018, arXiv:1801.10198; Raffel et al., JMLR 2020, arXiv:1910.10683,
section 3.2.1): the tokens of a prefix see each other both ways, those after it all before them.

Each document of a sample, or its part in it, is cut at a place that is drawn evenly. The prefix is not scored.
"""

from __future__ import annotations

import numpy as np

from headwater.train.objectives.draws import Draws
from headwater.train.objectives.examples import I64, IGNORE, Objective, Row, documents


class Prefix(Objective):
    """Prefix language modelling."""

    causal = False

    def row(self, tokens_M: I64, positions_L: I64, draws: Draws) -> Row:
        """See `Objective.row`."""
        labels, seen = tokens_M[1:].copy(), np.zeros(len(positions_L), dtype=np.bool_)
        spans = documents(positions_L)
        for (start, stop), chance in zip(spans, draws.uniform(len(spans)), strict=True):
            # Of n tokens, 1 to n - 1: the last token of the prefix predicts the first one after it.
            prefix = 1 + int(chance * (stop - start - 1))
            seen[start : start + prefix] = True
            labels[start : start + prefix - 1] = IGNORE
        return Row(tokens_M[:-1], labels, positions_L, seen)
