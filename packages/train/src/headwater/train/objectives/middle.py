"""Fill-in-the-middle (Bavarian et al., 2022, arXiv:2207.14255): a document is cut in three, and its middle moved to
the end.

    PSM   PRE prefix SUF suffix MID middle
    SPM   PRE SUF suffix MID prefix middle      (the variant of their appendix D, which trains well beside PSM)

It is done to whole documents, before they are packed into samples. A document must not grow, since the order of samples
rests on where its tokens lie: the last three tokens of its text make room for the sentinels. The cuts are made between
tokens. Each pass over a source cuts anew. The loss is that of all tokens, as in causal language modelling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from headwater.train.objectives.causal import Causal
from headwater.train.objectives.draws import Draws
from headwater.train.objectives.examples import I64, Examples, Place, documents

SENTINELS = 3
LEAST = 8
"""Documents of fewer tokens stay as they are."""

Piece = int | tuple[int, int]
"""A sentinel, or a stretch `[start, stop)` of the document."""


@dataclass(frozen=True)
class MiddleTokens:
    """Ids of the sentinels and of the token that ends a document."""

    prefix: int
    suffix: int
    middle: int
    end: int


class Middle(Causal):
    """Fill-in-the-middle.

    Args:
        seed: The run's seed.
        tokens: Ids of the sentinels.
        rate: Share of the documents that are rearranged.
        spm_rate: Share of those that have the suffix first.
    """

    def __init__(self, seed: int, tokens: MiddleTokens, rate: float, spm_rate: float) -> None:
        super().__init__(seed)
        self.tokens, self.rate, self.spm_rate = tokens, rate, spm_rate

    def pieces(self, length: int, ended: bool, draws: Draws) -> list[Piece]:
        """How a document is rearranged: pieces that are as long together as it is.

        Args:
            length: Tokens of the document.
            ended: Whether the last of them ends it; that one stays where it is.
            draws: The document's random numbers.
        """
        rearranged, suffix_first = draws.uniform(2)
        if length < LEAST or rearranged >= self.rate:
            return [(0, length)]
        text = length - ended - SENTINELS
        first, second = np.sort(draws.whole(2, text + 1)).tolist()
        pre, suf, mid = self.tokens.prefix, self.tokens.suffix, self.tokens.middle
        if suffix_first < self.spm_rate:
            made: list[Piece] = [pre, suf, (second, text), mid, (0, second)]
        else:
            made = [pre, (0, first), suf, (second, text), mid, (first, second)]
        return [*made, (length - 1, length)] if ended else made

    def rows(
        self, tokens_BM: I64, positions_BL: I64, numbers: Sequence[int], places: Sequence[Place] | None = None,
        purpose: str = "train",
    ) -> Examples:  # fmt: skip
        """See `Objective.rows`. What was read nowhere in a file is rearranged document by document as it stands."""
        if places is None:
            made = [self._alone(*row, purpose) for row in zip(tokens_BM, positions_BL, numbers, strict=True)]
        else:
            made = [self._packed(place, tokens_BM.shape[1], purpose) for place in places]
        return super().rows(np.stack(made), positions_BL, numbers, purpose=purpose)

    def _packed(self, place: Place, count: int, purpose: str) -> I64:
        """The tokens of a sample out of the rearranged documents that it holds."""
        reader, start, stop = place.reader, place.offset, place.offset + count
        first, last = reader.sequences_of(start, stop)
        found = np.empty(count, dtype=np.int64)
        for sequence in range(first, last):
            begin = reader.start_of(sequence)
            length = int(reader.lengths[sequence])
            low, high = max(start, begin), min(stop, begin + length)
            if low >= high:
                continue
            ended = int(reader.tokens[begin + length - 1]) == self.tokens.end
            draws = Draws(self.seed, f"{purpose} document {reader.prefix.parent.name} pass {place.epoch}", sequence)
            pieces = self.pieces(length, ended, draws)
            found[low - start : high - start] = _cut(
                pieces, low - begin, high - begin, lambda a, b, begin=begin: reader.get(begin + a, b - a)
            )
        return found

    def _alone(self, tokens_M: I64, positions_L: I64, number: int, purpose: str) -> I64:
        made = tokens_M.copy()
        for part, (start, stop) in enumerate(documents(positions_L)):
            whole = tokens_M[start:stop]
            draws = Draws(self.seed, f"{purpose} part {part}", number)
            pieces = self.pieces(stop - start, int(whole[-1]) == self.tokens.end, draws)
            made[start:stop] = _cut(pieces, 0, stop - start, lambda a, b, whole=whole: whole[a:b])
        return made


def _cut(pieces: Sequence[Piece], start: int, stop: int, read: Callable[[int, int], I64]) -> I64:
    """Tokens `[start, stop)` of a rearranged document, of which no more is read than they are."""
    found: list[I64] = []
    at = 0
    for piece in pieces:
        size = 1 if isinstance(piece, int) else piece[1] - piece[0]
        low, high = max(start, at) - at, min(stop, at + size) - at
        if low < high:
            found.append(np.array([piece]) if isinstance(piece, int) else read(piece[0] + low, piece[0] + high))
        at += size
    return np.concatenate(found).astype(np.int64)
