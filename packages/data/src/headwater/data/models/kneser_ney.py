"""Interpolated modified Kneser-Ney estimation (Chen and Goodman, 1999; as in Heafield et al., ACL 2013), over arrays.

An n-gram is known by a number: the number of its first n - 1 tokens among the (n-1)-grams, shifted, with its last token
below. So the n-grams of one length are one sorted array of 64-bit keys, without collisions, and finding one is a binary
search. Every array is parallel to the keys of its length; those of length 1 are indexed by the token itself.

Sequences begin with the token `begin`, which is context only and is never predicted, and end with `end`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

_FALLBACK = (0.5, 1.0, 1.5)  # discounts where the counts of counts give none, as lmplz --discount_fallback


@dataclass(frozen=True)
class Estimate:
    """A model's n-grams.

    Attributes:
        shift: Bits of a key that hold its last token.
        keys: For each length from 2 up, the sorted keys.
        log_probabilities: For each length from 1 up, the natural logarithm of p(last token | the others); minus
            infinity for `begin`.
        log_backoffs: For each length from 1 up to one below the longest, the natural logarithm of the weight of the
            shorter context after this one.
        discounts: For each length, what is taken off counts of 1, 2, and 3 or more.
    """

    shift: int
    keys: list[U64]
    log_probabilities: list[F64]
    log_backoffs: list[F64]
    discounts: list[tuple[float, float, float]]


@dataclass
class _Level:
    """The n-grams of one length: first token, prefix, suffix, last token, and how often each is in the text."""

    keys: U64
    first: I64
    prefix: I64
    suffix: I64
    last: I64
    counts: I64
    adjusted: I64


def estimate(
    tokens: npt.NDArray[np.int64], vocabulary: int, begin: int, *, order: int, prune: Sequence[int] = ()
) -> Estimate:
    """Estimates a model.

    Args:
        tokens: Sequences laid end to end, each with `begin` before and `end` after it, shape [tokens].
        vocabulary: Tokens that there are, all below this number; all but `begin` get a probability.
        begin: The token that begins a sequence.
        order: Longest n-gram, from 1.
        prune: For each length from 2 up, n-grams with this count or less are left out; the last holds for
            longer ones, too.
    """
    if list(prune) != sorted(prune):
        raise ValueError(f"longer n-grams are pruned at least as much as shorter ones, not {prune}")
    shift = max(vocabulary - 1, 1).bit_length()
    levels = _count(tokens, vocabulary, begin, order, shift)
    levels[0].adjusted = np.where(np.arange(vocabulary) == begin, 0, levels[0].adjusted)
    discounts = [_discounts(level.adjusted) for level in levels]
    kept = [np.ones(vocabulary, dtype=np.bool_)]
    limits = [*(prune or (0,)), *[prune[-1] if prune else 0] * order]
    kept += [level.counts > limit for level, limit in zip(levels[1:], limits, strict=False)]
    probabilities: list[F64] = []
    backoffs: list[F64] = []
    for n, level in enumerate(levels):
        share, left = _discounted(level, discounts[n], kept[n], len(levels[n - 1].keys) if n else 1)
        if n:
            backoffs.append(left)
            share += left[level.prefix] * probabilities[n - 1][level.suffix]
        else:
            share += left[0] / (vocabulary - 1)
            share[begin] = 0
        probabilities.append(share)
    return _pruned(levels, kept, probabilities, backoffs, shift, discounts)


def _count(tokens: I64, vocabulary: int, begin: int, order: int, shift: int) -> list[_Level]:
    every = np.arange(vocabulary)
    none = np.zeros(vocabulary, np.int64)
    counts = np.bincount(tokens, minlength=vocabulary)
    levels = [_Level(every.astype(np.uint64), every, none, none, every, counts, counts)]
    ends = tokens  # the number of the n-gram that ends at each place; -1 where a sequence is too young
    place_in_sequence = np.arange(len(tokens)) - np.maximum.accumulate(
        np.where(tokens == begin, np.arange(len(tokens)), 0)
    )
    for n in range(2, order + 1):
        whole = np.flatnonzero(place_in_sequence >= n - 1)
        keys = join(ends[whole - 1], tokens[whole], shift)
        found, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        prefix = (found >> np.uint64(shift)).astype(np.int64)
        last = (found & np.uint64((1 << shift) - 1)).astype(np.int64)
        shorter = levels[-1]
        suffix = last if n == 2 else find(shorter.keys, join(shorter.suffix[prefix], last, shift))
        levels.append(_Level(found, shorter.first[prefix], prefix, suffix, last, counts, counts))
        # Lower orders are estimated from how many different tokens come before, except where none can.
        left = np.bincount(suffix, minlength=len(shorter.keys))
        shorter.adjusted = np.where(shorter.first == begin, shorter.counts, left)
        ends = np.full(len(tokens), -1)
        ends[whole] = inverse
    return levels


def join(prefix: I64, last: I64, shift: int) -> U64:
    """The keys of n-grams: the numbers of their prefixes, and their last tokens."""
    return (prefix.astype(np.uint64) << np.uint64(shift)) | last.astype(np.uint64)


def find(keys: npt.NDArray[np.uint64], wanted: U64) -> I64:
    """The place of each key; -1 where it is not."""
    if not len(keys):
        return np.full(len(wanted), -1)
    place = np.searchsorted(keys, wanted)
    return np.where(keys[np.minimum(place, len(keys) - 1)] == wanted, place, -1)


def _discounts(adjusted: I64) -> tuple[float, float, float]:
    """Chen and Goodman's closed form from the counts of counts."""
    t1, t2, t3, t4 = (int(np.count_nonzero(adjusted == k)) for k in (1, 2, 3, 4))
    if not (t1 and t2 and t3):
        return _FALLBACK
    y = t1 / (t1 + 2 * t2)
    found = (1 - 2 * y * t2 / t1, 2 - 3 * y * t3 / t2, 3 - 4 * y * t4 / t3)
    return found if all(0 <= d <= k for k, d in enumerate(found, 1)) else _FALLBACK


def _discounted(
    level: _Level, discounts: tuple[float, float, float], kept: npt.NDArray[np.bool_], contexts: int
) -> tuple[F64, F64]:
    """Each n-gram's share of its context, less the discount, and what each context has left for the shorter one.

    A context without anything after it leaves everything; the share of an n-gram that is not kept is left, too.
    """
    counts = level.adjusted.astype(np.float64)
    off = np.array((0.0, *discounts))[np.minimum(level.adjusted, 3)]
    total = np.bincount(level.prefix, weights=counts, minlength=contexts)
    left = np.bincount(level.prefix, weights=np.where(kept, off, counts), minlength=contexts)
    some = np.where(total > 0, total, 1.0)
    return (counts - off) / some[level.prefix], np.where(total > 0, left / some, 1.0)


def _pruned(
    levels: list[_Level], kept: list[npt.NDArray[np.bool_]], probabilities: list[F64], backoffs: list[F64], shift: int,
    discounts: list[tuple[float, float, float]],
) -> Estimate:  # fmt: skip
    """Leaves out what is not kept, and numbers the rest anew. A kept n-gram's prefix is kept: it is as frequent."""
    keys: list[U64] = []
    number = np.arange(len(levels[0].keys))
    for n, level in enumerate(levels):
        if n:
            keys.append(join(number[level.prefix[kept[n]]], level.last[kept[n]], shift))
            number = np.cumsum(kept[n]) - 1
    with np.errstate(divide="ignore"):
        logs = [np.log(p[keep]) for p, keep in zip(probabilities, kept, strict=True)]
        weights = [np.log(b[keep]) for b, keep in zip(backoffs, kept, strict=False)]
    return Estimate(shift, keys, logs, weights, discounts)
