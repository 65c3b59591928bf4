"""Which evaluation items a text holds, whole or lightly edited: how much of an item's words it covers, weighed.

One run of words is a poor witness. It is broken by a comma in a number, and it is found in every text that quotes what
the item quotes. So an item counts as held when, at one place of the text, runs of words in common together cover enough
of its question, in share and in information (see `headwater.core.item_words`):

* Runs of `RUN` words count, inside a window a little longer than the item, so that order and nearness matter.
* Of the words around a passage that an item quotes, some have to be there too.
* A question that says too little by itself is looked for together with its choices or answer.

Two different anchors within `NEAR` words of the text are where it is looked at closely. How much is enough (`_ENOUGH`)
was chosen on one half of the items and pages of `benchmarks/data/contamination.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from headwater.core.hashing import U64
from headwater.core.item_runs import is_among
from headwater.core.item_words import ANCHOR, WEIGHTS_IN_NAT, ItemWords, Mask
from headwater.core.ngrams import I64, Words

RUN = 3
NEAR = 40
_ENOUGH = ((500, 20, RUN), (800, 12, RUN), (300, 20, 10))
"""Thousandths of the weight, nats, words of the longest run: any row is enough."""
_OWN_WORDS = 6
_MOST_WINDOWS = 4


class Covered(NamedTuple):
    """An item that a text holds.

    Attributes:
        item: Its number.
        first, stop: The words of the text that it lies in.
        longest: Words of the longest run in common there.
        coverage: Share of the weight of what was looked for that is there, in thousandths.
    """

    item: int
    first: int
    stop: int
    longest: int
    coverage: int


@dataclass(frozen=True, slots=True)
class CoverageIndex:
    """Items, ready to be found.

    Attributes:
        items: Their words.
        hashes, places: The anchors: sorted hashes, and the first word of each.
        bits: Whether an anchor's hash ends like this, shape [a power of two].
    """

    items: ItemWords
    hashes: U64
    places: I64
    bits: Mask

    @classmethod
    def build(cls, texts: Sequence[str], questions: Sequence[str], *, only: int | None = None) -> CoverageIndex:
        """Indexes items.

        Args:
            texts: Of all items.
            questions: What each text begins with.
            only: The one item that is looked for; its words weigh what they weigh among all.
        """
        items = ItemWords.build(texts, questions)
        hashes, places = items.words.ngrams(ANCHOR)
        chosen = np.isin(places, items.anchors)
        if only is not None:
            chosen &= items.items[items.words.text_of(places)] == only
        hashes, places = hashes[chosen], places[chosen]
        order = np.lexsort((places, hashes))
        bits = np.zeros(1 << max(10, (4 * len(hashes)).bit_length()), np.bool_)
        bits[hashes & np.uint64(len(bits) - 1)] = True
        return cls(items, hashes[order], places[order], bits)

    def texts_with(self, texts: Words) -> list[int]:
        """Which of several texts have an anchor, by its hash."""
        own, places = texts.ngrams(ANCHOR)
        return np.unique(texts.text_of(places[is_among(own, self.hashes)])).tolist()

    def found(self, words: Words) -> list[Covered]:
        """The items that one text holds, in their order, each at the place where most of it is."""
        best: dict[int, Covered] = {}
        for variant, first, stop in self._windows(words):
            covered = self._covered(words, variant, first, stop)
            if covered is None:
                continue
            known = best.get(covered.item)
            if known is None or (covered.coverage, -covered.first) > (known.coverage, -known.first):
                best[covered.item] = covered
        return [best[item] for item in sorted(best)]

    def _windows(self, words: Words) -> list[tuple[int, int, int]]:
        """Where anchors say that a variant may lie: (variant, first word, last word + 1)."""
        own, places = words.ngrams(ANCHOR)
        likely = self.bits[own & np.uint64(len(self.bits) - 1)]  # nearly all are none, and this fits into the cache
        own, places = own[likely], places[likely]
        low, high = (np.searchsorted(self.hashes, own, side=side) for side in ("left", "right"))
        counts = high - low
        if len(np.unique(places[counts > 0])) < 2:
            return []
        mine, theirs = np.repeat(places, counts), self.places[np.repeat(low, counts) + _within(counts)]
        variants = self.items.words.text_of(theirs)
        begins = mine - (theirs - self.items.words.first_words[variants])  # where the item would begin
        order = np.lexsort((mine, begins, variants))
        variants, begins, mine = variants[order], begins[order], mine[order]
        sizes = np.diff(self.items.words.first_words)[variants]
        slack = sizes // 2 + 2 * ANCHOR
        fresh = np.ones(len(begins), np.bool_)
        fresh[1:] = (np.diff(variants) != 0) | (np.diff(begins) > slack[1:])
        starts = np.flatnonzero(fresh).tolist()
        groups: dict[int, list[tuple[int, int]]] = {}
        for a, b in zip(starts, [*starts[1:], len(begins)], strict=True):
            if _two_near(mine[a:b]):
                groups.setdefault(int(variants[a]), []).append((a, b))
        windows: list[tuple[int, int, int]] = []
        for variant, mine_of in groups.items():
            for a, b in sorted(mine_of, key=lambda group: (group[0] - group[1], group))[:_MOST_WINDOWS]:
                first = max(0, int(begins[a] - slack[a]))
                windows.append((variant, first, min(len(words), int(begins[b - 1] + sizes[a] + slack[a]))))
        return windows

    def _covered(self, words: Words, variant: int, first: int, stop: int) -> Covered | None:
        begin, end = (int(each) for each in self.items.words.first_words[variant : variant + 2])
        lengths, places = longest_runs(self.items.words.hashes[begin:end], words.hashes[first:stop])
        own = self.items.own[begin:end]
        for size in (int(self.items.questions[variant]), end - begin):
            mine = np.flatnonzero(lengths[:size])
            if not len(mine):
                continue
            weights = self.items.weights[begin : begin + size]
            at, once = np.unique(places[mine], return_index=True)
            # What the text says once and the item twice is there once.
            covered, total = min(int(weights[mine].sum()), int(weights[mine[once]].sum())), int(weights.sum())
            longest = int(lengths[mine].max())
            around = int((own[mine] & (lengths[mine] >= ANCHOR)).sum())
            if around >= min(_OWN_WORDS, int(own[:size].sum())) and _enough(covered, total, longest):
                share = covered * 1000 // total
                item = int(self.items.items[variant])
                return Covered(item, first + int(at[0]), first + int(at[-1]) + 1, longest, share)
        return None


def longest_runs(item: U64, text: U64) -> tuple[I64, I64]:
    """For each word of an item, the length of the longest run in common with a text that it is in, and its place there.

    Runs of fewer than `RUN` words are none; of equal ones the first in the text counts.
    """
    order = np.argsort(item, kind="stable")
    low, high = (np.searchsorted(item[order], text, side=side) for side in ("left", "right"))
    counts = high - low
    a, b = order[np.repeat(low, counts) + _within(counts)], np.repeat(np.arange(len(text)), counts)
    order = np.lexsort((a, b - a))
    a, b = a[order], b[order]
    fresh = np.ones(len(a), np.bool_)
    fresh[1:] = (np.diff(b - a) != 0) | (np.diff(a) != 1)
    starts = np.flatnonzero(fresh)
    sizes = np.diff(np.append(starts, len(a)))
    sizes = np.repeat(sizes, sizes)
    order = np.lexsort((-b, sizes))  # the longest last, and of equal ones the first
    order = order[sizes[order] >= RUN]
    lengths, places = np.zeros(len(item), np.int64), np.zeros(len(item), np.int64)
    lengths[a[order]], places[a[order]] = sizes[order], b[order]
    return lengths, places


def _enough(covered: int, total: int, longest: int) -> bool:
    return any(
        covered * 1000 >= share * total and covered >= nats * WEIGHTS_IN_NAT and longest >= run
        for share, nats, run in _ENOUGH
    )


def _two_near(places: I64) -> bool:
    gaps = np.diff(np.unique(places))
    return bool(len(gaps)) and int(gaps.min()) <= NEAR


def _within(counts: I64) -> I64:
    """0, 1, … for each count."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
