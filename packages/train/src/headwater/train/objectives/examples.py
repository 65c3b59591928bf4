"""What an objective takes and gives.

Legend: B samples, L tokens in a sample, M = L + 1 tokens that are read for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headwater.core.tokens import MegatronReader
from headwater.train.objectives.draws import Draws

I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

IGNORE = -100
"""Label of a token that is not scored, as torch's cross-entropy has it."""


class Place(NamedTuple):
    """Where a sample was read: the token file, its first token there, and which pass over the source it is."""

    reader: MegatronReader
    offset: int
    epoch: int


class Row(NamedTuple):
    """One sample as the model is given it.

    Attributes:
        inputs_L: Token ids.
        labels_L: What is to be predicted at each; `IGNORE` where nothing is.
        positions_L: Places in the document; 0 where one starts.
        seen_L: Tokens that every token of their document sees, also those before them; none: no token is.
    """

    inputs_L: I64
    labels_L: I64
    positions_L: I64
    seen_L: Bools | None = None


@dataclass(frozen=True)
class Examples:
    """Samples as the model is given them: `Row`s under each other.

    Attributes:
        inputs_BL: Token ids.
        labels_BL: What is to be predicted at each.
        positions_BL: Places in the documents.
        seen_BL: Tokens that their whole document sees; none: the objective is causal.
        chances_BL: A number of [0, 1) for each token that the model itself is to draw, −1 for the others; none: it
            draws nothing.
    """

    inputs_BL: I64
    labels_BL: I64
    positions_BL: I64
    seen_BL: Bools | None = None
    chances_BL: npt.NDArray[np.float32] | None = None


class Objective:
    """Base of the objectives: a pure function from what was read for a sample to what the model is given.

    Args:
        seed: The run's seed.

    Attributes:
        left_to_right: Whether the model learns to score a text from left to right.
        causal: Whether no token sees a later one, so that the model is given no `seen_BL`.
        even: Whether the loss of each sample counts the same, however many of its tokens are scored.
    """

    left_to_right = True
    causal = True
    even = False

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def row(self, tokens_M: I64, positions_L: I64, draws: Draws) -> Row:
        """Makes one sample.

        Args:
            tokens_M: Token ids as they lie in the file.
            positions_L: Place of each but the last in its document; 0 where a document or the sample starts.
            draws: The sample's random numbers.
        """
        raise NotImplementedError

    def rows(
        self, tokens_BM: I64, positions_BL: I64, numbers: Sequence[int], places: Sequence[Place] | None = None,
        purpose: str = "train",
    ) -> Examples:  # fmt: skip
        """Makes samples.

        Args:
            tokens_BM: Token ids.
            positions_BL: Places in the documents.
            numbers: Of the samples in the order.
            places: Where they were read; none: nowhere in a token file.
            purpose: "train" or "validation", whose random numbers are others.
        """
        streams = [Draws(self.seed, f"{purpose} sample", number) for number in numbers]
        made = [self.row(*row) for row in zip(tokens_BM, positions_BL, streams, strict=True)]
        seen = None if self.causal else np.stack([_seen(row) for row in made])
        columns = [np.stack(column) for column in zip(*(row[:3] for row in made), strict=True)]
        return Examples(columns[0], columns[1], columns[2], seen)


def _seen(row: Row) -> Bools:
    return np.zeros(len(row.inputs_L), dtype=np.bool_) if row.seen_L is None else row.seen_L


def documents(positions_L: I64) -> list[tuple[int, int]]:
    """First token and one more than the last of each document of a sample, or of its part in it."""
    starts = np.flatnonzero(positions_L == 0).tolist()
    return list(zip(starts, [*starts[1:], len(positions_L)], strict=True))
