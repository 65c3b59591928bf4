"""The words of evaluation items: what each is worth as evidence, and the short runs that are worth looking for.

* A word weighs its information, -log p, where p is how often items have it; function words and single characters are
  taken to be common from the start, so that a handful of items gives weights too. What an item says again weighs less.
* Words that only stand in stock phrases, which more than `_STOCK_ITEMS` items have, weigh nothing ("which of the
  following statements is true").
* Passages that a question quotes (long quotations, long lines among others) are found wherever their source is; the
  words around them are the item's own.
* Anchors are runs of `ANCHOR` words that are in few items and say enough; each question has some, if it can.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from headwater.core.hashing import U64
from headwater.core.ngrams import I64, Words, split_words

Mask = npt.NDArray[np.bool_]

ANCHOR = 5
ANCHOR_NATS, LEAST_ANCHOR_NATS, BEST_ANCHORS = 11.0, 6.0, 6
"""An anchor says this much, or the second much if it is one of the best so many of its question."""
WEIGHTS_IN_NAT = 1000
_STOCK_ITEMS = 10
_PASSAGE_WORDS = 30
_PRIOR_ITEMS, _PRIOR_COMMON, _PRIOR_OTHER = 1000, 0.3, 0.002
# The commonest words of English and of programs. So are all words of one character, digits among them.
_COMMON = (
    "about after all also an and any are as at be because been before between but by can could did do does each for "
    "from had has have he her him his how if in into is it its just like ll may me more most much must my no not of "
    "on one only or other our out over re same she should so some such than that the their them then there these they "
    "this to too two up us use used using ve very was we were what when where which while who why will with would you "
    "your def return import list int str none true false self"
)
_QUOTED = re.compile(r'(?<!")"(?!")[^"]*"|“[^”]*”|«[^»]*»')
_LINE = re.compile(r"[^\n]+")
_INSIDE = re.compile(r"(?<=\w)[’'`ʼ‐‑,-](?=\w)")


@dataclass(frozen=True, slots=True)
class ItemWords:
    """The words of all items. One whose words hold commas, apostrophes or hyphens has two variants: with and without.

    Attributes:
        words: One text a variant.
        items: Variant → item; ascends.
        questions: Variant → how many of its words are the question.
        weights: Of each word, in thousandths of a nat.
        own: Whether each word stands outside of quoted passages.
        anchors: The first word of each anchor, ascending.
    """

    words: Words
    items: I64
    questions: I64
    weights: I64
    own: Mask
    anchors: I64

    @classmethod
    def build(cls, texts: Sequence[str], questions: Sequence[str]) -> ItemWords:
        """Weighs the words of items.

        Args:
            texts: Of the items.
            questions: What each text begins with.
        """
        variants, asked, items = _variants(texts, questions)
        words = split_words(variants)
        owners = items[words.text_of(np.arange(len(words)))]
        hashes, places = words.ngrams(ANCHOR)
        rare = _spread(hashes, owners[places]) <= _STOCK_ITEMS
        weights = _weights(words, owners, len(texts))
        weights[_stock(words, places[rare])] = 0
        lengths = np.searchsorted(words.starts, words.text_starts[:-1] + asked) - words.first_words[:-1]
        anchors = _anchors(words, weights, lengths, places[rare])
        return cls(words, items, lengths, weights, _own(variants, asked, words), anchors)

    def texts(self) -> list[str]:
        """The variants' texts, lower-cased."""
        ends = self.words.text_starts.tolist()
        codes = self.words.codes.astype("<u4")
        return [codes[a : b - 1].tobytes().decode("utf-32-le", "surrogatepass") for a, b in pairwise(ends)]


def _variants(texts: Sequence[str], questions: Sequence[str]) -> tuple[list[str], I64, I64]:
    variants: list[str] = []
    asked: list[int] = []
    items: list[int] = []
    for item, (text, question) in enumerate(zip(texts, questions, strict=True)):
        joined = _INSIDE.sub("", text)
        for variant, head in ((text, question), (joined, _INSIDE.sub("", question)))[: 1 + (joined != text)]:
            variants.append(variant)
            asked.append(len(head))
            items.append(item)
    return variants, np.array(asked, np.int64), np.array(items, np.int64)


def _weights(words: Words, owners: I64, items: int) -> I64:
    common = np.isin(words.hashes, split_words([_COMMON]).hashes) | (words.stops - words.starts == 1)
    prior = np.where(common, _PRIOR_COMMON, _PRIOR_OTHER) * _PRIOR_ITEMS
    share = (_spread(words.hashes, owners) + prior) / (items + _PRIOR_ITEMS)
    values, numbers = np.unique(share, return_inverse=True)
    table = np.array([max(0, round(-math.log(value) * WEIGHTS_IN_NAT)) for value in values.tolist()], np.int64)
    texts = words.text_of(np.arange(len(words)))
    return table[numbers] // _occurrences(words.hashes, texts) if len(values) else np.empty(0, np.int64)


def _stock(words: Words, rare: I64) -> Mask:
    """Words that are in no rare run; those of texts that are shorter than a run are not among them."""
    stock = np.ones(len(words), np.bool_)
    for k in range(ANCHOR):
        stock[rare + k] = False
    for text in np.flatnonzero(np.diff(words.first_words) < ANCHOR).tolist():
        stock[words.first_words[text] : words.first_words[text + 1]] = False
    return stock


def _anchors(words: Words, weights: I64, lengths: I64, places: I64) -> I64:
    sums = np.concatenate([[0], np.cumsum(weights)])
    information = sums[places + ANCHOR] - sums[places]
    variants = words.text_of(places)
    inside = places - words.first_words[variants] < lengths[variants]
    order = np.lexsort((places, -information, ~inside, variants))
    starts = np.searchsorted(variants[order], np.arange(len(lengths)))
    best = np.zeros(len(places), np.bool_)
    best[order] = np.arange(len(places)) - starts[variants[order]] < BEST_ANCHORS
    enough = information >= ANCHOR_NATS * WEIGHTS_IN_NAT
    return places[enough | (best & (information >= LEAST_ANCHOR_NATS * WEIGHTS_IN_NAT))]


def _own(variants: Sequence[str], asked: I64, words: Words) -> Mask:
    """Which words stand outside of the passages that a question quotes; all of an item, if hardly any do."""
    own = np.ones(len(words), np.bool_)
    spans: list[tuple[int, int]] = []
    for text, size, origin in zip(variants, asked.tolist(), words.text_starts.tolist(), strict=False):
        if size < 3 * _PASSAGE_WORDS:
            continue
        spans += [(origin + match.start(), origin + match.end()) for match in _QUOTED.finditer(text, 0, size)]
        lines = [match.span() for match in _LINE.finditer(text, 0, size)][:-1]
        long = [span for span in lines if text.count(" ", *span) >= _PASSAGE_WORDS - 1]
        spans += [(origin + long[0][0], origin + long[-1][1])] if long else []
    ends = np.searchsorted(words.starts, np.array(spans, np.int64).reshape(-1, 2))
    for first, last in ends[ends[:, 1] - ends[:, 0] >= _PASSAGE_WORDS].tolist():
        own[first:last] = False
    counts = np.concatenate([[0], np.cumsum(own)])
    for text in np.flatnonzero(np.diff(counts[words.first_words]) < ANCHOR).tolist():
        own[words.first_words[text] : words.first_words[text + 1]] = True
    return own


def _spread(keys: U64, owners: I64) -> I64:
    """For each key, how many owners have it; owners ascend."""
    order = np.argsort(keys, kind="stable")
    fresh = _changes(keys[order])
    starts = np.flatnonzero(fresh)
    sums = np.concatenate([[0], np.cumsum(fresh | _changes(owners[order]))])
    sizes = np.diff(np.append(starts, len(keys)))
    spread = np.empty(len(keys), np.int64)
    spread[order] = np.repeat(sums[starts + sizes] - sums[starts], sizes)
    return spread


def _occurrences(keys: U64, owners: I64) -> I64:
    """For each key, the how manieth of its owner it is, from 1; owners ascend."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(_changes(keys[order]) | _changes(owners[order]))
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = np.arange(len(keys)) - np.repeat(starts, np.diff(np.append(starts, len(keys)))) + 1
    return numbers


def _changes(values: npt.NDArray[np.generic]) -> Mask:
    fresh = np.ones(len(values), np.bool_)
    fresh[1:] = values[1:] != values[:-1]
    return fresh
