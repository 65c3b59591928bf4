"""Runs of words that a text shares with evaluation items: equal n-grams find them, and each grows as far as it can."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headwater.core.hashing import U64
from headwater.core.ngrams import I64, Words, split_words


class Run(NamedTuple):
    """Words [first, stop) of a text, which are words of an item from its word `place` on."""

    item: int
    place: int
    first: int
    stop: int


@dataclass(frozen=True, slots=True)
class ItemIndex:
    """The n-grams of evaluation items.

    Attributes:
        words: The items' words.
        grams: For each n: sorted hashes, and the first word of each n-gram.
        most_places: Places of one n-gram in a text that are looked at: what is said more often is an item's at the
            first of them too.
    """

    words: Words
    grams: dict[int, tuple[U64, I64]]
    most_places: int = 8

    @classmethod
    def build(cls, texts: Sequence[str], ngram: int, min_words: int, *, most_places: int = 8) -> ItemIndex:
        """Indexes items.

        Args:
            texts: Of the items.
            ngram: Words that must agree, one after the other.
            min_words: Items of fewer than `ngram` words are matched whole if they have at least this many.
            most_places: As the attribute.
        """
        words = split_words(texts)
        sizes = np.diff(words.first_words)
        grams: dict[int, tuple[U64, I64]] = {}
        short = {int(size) for size in sizes if min_words <= size < ngram}
        for n in sorted({ngram, *short}, reverse=True):
            hashes, places = words.ngrams(n)
            if n < ngram:  # whole short items only
                whole = sizes[words.text_of(places)] == n
                hashes, places = hashes[whole], places[whole]
            order = np.lexsort((places, hashes))
            grams[n] = (hashes[order], places[order])
        return cls(words, grams, most_places)

    def texts_with(self, texts: Words) -> list[int]:
        """Which of several texts share an n-gram with an item, by its hash."""
        found: set[int] = set()
        for n, (hashes, _) in self.grams.items():
            own, places = texts.ngrams(n)
            found.update(texts.text_of(places[is_among(own, hashes)]).tolist())
        return sorted(found)

    def runs(self, words: Words) -> list[Run]:
        """The longest runs that one text shares with each item, longest first.

        Of several runs over one stretch of an item the longest counts, and of equal ones the first.
        """
        found: set[Run] = set()
        for n in self.grams:
            for place, item_place in self._seeds(words, n):
                if words.strings(place, place + n) == self.words.strings(item_place, item_place + n):
                    found.add(self._grown(words, place, item_place, n))
        of_item: dict[int, list[Run]] = {}
        for run in sorted(found, key=lambda run: (run.first - run.stop, run)):
            kept = of_item.setdefault(run.item, [])
            if not any(k.place <= run.place and run.place + run.stop <= k.place + k.stop - k.first + run.first
                       for k in kept):  # fmt: skip
                kept.append(run)
        return sorted((run for kept in of_item.values() for run in kept), key=lambda run: (run.first - run.stop, run))

    def _seeds(self, words: Words, n: int) -> list[tuple[int, int]]:
        """Where equal n-grams begin in the text and in the items: the first of each row of them."""
        hashes, item_places = self.grams[n]
        own, places = words.ngrams(n)
        low, high = (np.searchsorted(hashes, own, side=side) for side in ("left", "right"))
        hit = np.flatnonzero(high > low)
        hit = hit[_rank(low[hit]) < self.most_places]
        counts = (high - low)[hit]
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        mine, theirs = np.repeat(places[hit], counts), item_places[np.repeat(low[hit], counts) + within]
        order = np.lexsort((mine, mine - theirs))
        mine, theirs = mine[order], theirs[order]
        fresh = _differs(mine - theirs) | _differs(self.words.text_of(theirs))
        fresh[1:] |= np.diff(mine) != 1
        return list(zip(mine[fresh].tolist(), theirs[fresh].tolist(), strict=True))

    def _grown(self, words: Words, place: int, item_place: int, n: int) -> Run:
        """The run around an n-gram, as far as the words' hashes agree."""
        item = int(self.words.text_of(item_place))
        first, end = (int(self.words.first_words[number]) for number in (item, item + 1))
        before = min(place, item_place - first)
        mine, theirs = words.hashes[place - before : place], self.words.hashes[item_place - before : item_place]
        back = _agreeing(mine[::-1], theirs[::-1])
        mine, theirs = words.hashes[place + n :], self.words.hashes[item_place + n : end]
        ahead = _agreeing(mine[: len(theirs)], theirs[: len(mine)])
        return Run(item, item_place - back - first, place - back, place + n + ahead)


def _agreeing(a: U64, b: U64) -> int:
    """How many values agree before the first that do not."""
    same = a == b
    return len(a) if same.all() else int(np.argmin(same))


def is_among(values: U64, ordered: U64) -> npt.NDArray[np.bool_]:
    """Which values are among those of a sorted array."""
    if not len(ordered):
        return np.zeros(len(values), np.bool_)
    return ordered[np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)] == values


def count_shared(runs: Iterable[Run], n: int) -> int:
    """How many n-grams of one item (by place in it) lie in one of the runs."""
    return len({place for run in runs for place in range(run.place, run.place + run.stop - run.first - n + 1)})


def _differs(values: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Whether each value differs from the one before; the first does."""
    fresh = np.ones(len(values), np.bool_)
    fresh[1:] = values[1:] != values[:-1]
    return fresh


def _rank(keys: I64) -> I64:
    """How many equal keys stand before each, shape [keys]."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(_differs(keys[order]))
    ranks = np.empty(len(keys), np.int64)
    ranks[order] = np.arange(len(keys)) - np.repeat(starts, np.diff(np.append(starts, len(keys))))
    return ranks
