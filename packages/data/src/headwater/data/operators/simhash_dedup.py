"""Near-duplicates: SimHash fingerprints find candidates (Charikar, "Similarity Estimation Techniques from Rounding
Algorithms", STOC 2002; Manku, Jain and Das Sarma, "Detecting Near-Duplicates for Web Crawling", WWW 2007), the true
Jaccard similarity of their word n-grams decides, as in `minhash_dedup`.

A bit of the 64 is what most of a text's n-grams have there, each counted as often as it occurs. Two fingerprints differ
in a bit with a probability that grows with the angle between the texts, so that few differing bits mean nearly equal
texts: with 5-grams, 3 bits are the usual distance at a Jaccard similarity of about 0.98. That is what this search is
for (copies with another date or number) at ten short keys a text; for looser similarity MinHash finds far more.

To find pairs within `max_distance` bits, the 64 bits are parted into two blocks more than that: of any such pair two
blocks at least are equal. So a text has one key for each two blocks, and pairs that share a key are compared.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from headwater.core.config import Whole
from headwater.core.hashing import mix64
from headwater.core.ngrams import character_tables
from headwater.data.operators.base import OperatorConfig
from headwater.data.operators.kernels.texts import as_texts

U64 = npt.NDArray[np.uint64]

NAME = "simhash_dedup"
_BITS = 64
_ODD = np.uint64(0x9E3779B97F4A7C15)


class SimhashDedupConfig(OperatorConfig):
    """Options of `simhash_dedup`.

    Attributes:
        ngram: Words in a shingle.
        max_distance: Bits, of 64, in which the fingerprints of a candidate pair may differ.
        min_jaccard: Least true similarity for a removal.
        all_pairs_up_to: Documents that share a key up to which each pair is compared; of more, each document is
            compared with the first and with its neighbour.
    """

    name: ClassVar[str] = NAME
    ngram: int = Field(default=5, ge=1, le=50)
    max_distance: int = Field(default=3, ge=0, le=8)
    min_jaccard: float = Field(default=0.7, gt=0, le=1)
    all_pairs_up_to: Whole = Field(default=64, ge=2)

    @property
    def keys(self) -> int:
        """Keys of a text."""
        return len(_pairs_of_blocks(self.max_distance))


def fingerprints(texts: Any, ngram: int) -> tuple[U64, npt.NDArray[np.bool_]]:
    """The fingerprint of each text, and whether it has a word, both of shape [texts]."""
    from headwater.data.operators.kernels import simhash  # numba is imported when there is work for it
    from headwater.data.operators.kernels.word_hashes import shingles

    data, offsets = as_texts(texts)
    count = len(offsets) - 1
    hashes, firsts = np.empty((len(data) + count) // 2 + 1, np.uint64), np.empty(count + 1, np.int64)
    shingles(data, offsets, *character_tables(), ngram, hashes, firsts)
    found = np.empty(count, np.uint64)
    simhash.fingerprints(hashes, firsts, found)
    return found, np.diff(firsts) > 0


def block_keys(found: U64, max_distance: int) -> U64:
    """The keys of each fingerprint, shape [texts, keys]: pairs within `max_distance` bits share one."""
    pairs = _pairs_of_blocks(max_distance)
    masks = np.array([a | b for a, b in pairs], np.uint64)
    numbers = np.arange(1, len(pairs) + 1, dtype=np.uint64)  # keys of different blocks never meet
    return mix64((found[:, None] & masks[None, :]) ^ mix64(numbers * _ODD)[None, :])


def distances(a: U64, b: U64) -> npt.NDArray[np.uint8]:
    """The bits in which pairs of fingerprints differ, shape [pairs]."""
    return np.bitwise_count(a ^ b)


def _pairs_of_blocks(max_distance: int) -> list[tuple[int, int]]:
    """Masks of each two of `max_distance` + 2 blocks."""
    count = max_distance + 2
    bounds = [_BITS * k // count for k in range(count + 1)]
    blocks = [(1 << stop) - (1 << start) for start, stop in pairwise(bounds)]
    return list(combinations(blocks, 2))
