"""Runs of words that two texts share: candidates by hash, then checked word by word.

The item's n-grams are looked up in the n-grams of many texts at once. Matches that follow one another in both texts
(the same diagonal) join to one run, so the longest runs come out without a search for each n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headwater.core.hashing import U64
from headwater.core.ngrams import I64, Words

_FILTER_BITS = np.uint64(0xFFFF)


@dataclass(frozen=True)
class Run:
    """`length` words from word `item` of the item on equal those from word `place` of the searched texts on."""

    item: int
    place: int
    length: int


class ItemGrams:
    """The n-grams of one item, ready to be looked up.

    Args:
        item: The words of the item's text.
        n: Words in an n-gram; shorter runs are not found.
    """

    def __init__(self, item: Words, n: int) -> None:
        self.item = item
        self.n = n
        hashes, places = item.ngrams(n)
        ordered = np.argsort(hashes, kind="stable")
        self._hashes: U64 = hashes[ordered]
        self._places: I64 = places[ordered]
        # Nearly all n-grams of a corpus are not the item's: one look into a small table drops them.
        self._filter = np.zeros(int(_FILTER_BITS) + 1, dtype=np.bool_)
        self._filter[self._hashes & _FILTER_BITS] = True

    def shared_runs(self, texts: Words) -> list[Run]:
        """All longest runs of at least `n` words that the item shares with any of the texts."""
        hashes, places = texts.ngrams(self.n)
        likely = np.flatnonzero(self._filter[hashes & _FILTER_BITS])
        low = np.searchsorted(self._hashes, hashes[likely], side="left")
        counts = np.searchsorted(self._hashes, hashes[likely], side="right") - low
        if not counts.any():
            return []
        # Pair every match in the texts with every place of the same n-gram in the item.
        text_words = np.repeat(places[likely], counts)
        within = np.arange(len(text_words)) - np.repeat(np.cumsum(counts) - counts, counts)
        item_words = self._places[np.repeat(low, counts) + within]
        return self._join(texts, text_words, item_words)

    def _join(self, texts: Words, text_words: I64, item_words: I64) -> list[Run]:
        diagonal = text_words - item_words
        ordered = np.lexsort((text_words, diagonal))
        text_words, item_words, diagonal = text_words[ordered], item_words[ordered], diagonal[ordered]
        owner = texts.text_of(text_words)
        follows: npt.NDArray[np.bool_] = np.zeros(len(text_words), dtype=np.bool_)
        follows[1:] = (np.diff(diagonal) == 0) & (np.diff(text_words) == 1) & (np.diff(owner) == 0)
        firsts = np.flatnonzero(~follows)
        lengths = np.diff(np.append(firsts, len(text_words))) + self.n - 1
        runs: list[Run] = []
        for first, length in zip(firsts.tolist(), lengths.tolist(), strict=True):
            place, item = int(text_words[first]), int(item_words[first])
            if texts.strings(place, place + length) == self.item.strings(item, item + length):
                runs.append(Run(item, place, length))
        return runs


def outermost(runs: list[Run]) -> list[Run]:
    """The runs whose stretch of the item lies in no longer run's stretch, longest first, one for each stretch."""
    kept: list[Run] = []
    for run in sorted(runs, key=lambda run: (-run.length, run.item, run.place)):
        if not any(other.item <= run.item and run.item + run.length <= other.item + other.length for other in kept):
            kept.append(run)
    return kept


def count_shared(runs: list[Run], n: int) -> int:
    """How many of the item's n-grams (by place in the item) lie in one of the runs."""
    return len({place for run in runs for place in range(run.item, run.item + run.length - n + 1)})
