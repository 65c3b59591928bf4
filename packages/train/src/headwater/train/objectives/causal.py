"""Causal language modelling: predict the next token from those before it (Radford et al., 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.train.objectives.draws import Draws
from headwater.train.objectives.examples import I64, Examples, Objective, Place, Row


class Causal(Objective):
    """Causal language modelling."""

    def row(self, tokens_M: I64, positions_L: I64, draws: Draws) -> Row:
        """See `Objective.row`."""
        return Row(tokens_M[:-1], tokens_M[1:], positions_L)

    def rows(
        self, tokens_BM: I64, positions_BL: I64, numbers: Sequence[int], places: Sequence[Place] | None = None,
        purpose: str = "train",
    ) -> Examples:  # fmt: skip
        """See `Objective.rows`: all at once, since nothing is drawn."""
        return Examples(tokens_BM[:, :-1], tokens_BM[:, 1:], positions_BL)
