"""Near-duplicates: MinHash bands find candidates (Broder, 1997; Leskovec et al., "Mining of Massive Datasets", ch. 3),
the true Jaccard similarity of their word n-grams decides.

The MinHash of permutation p is the least (a_p * h + b_p) mod 2**32 over the n-grams' hashes h; two documents are
candidates when all rows of one band agree, which for similarity s happens with probability 1 - (1 - s**rows)**bands.
Nothing is removed on the strength of a candidate alone, nor through a chain of neighbours: a document goes only if
its own similarity to a document that stays reaches `min_jaccard`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from headwater.core.config import Whole
from headwater.core.ngrams import character_tables
from headwater.data.operators.base import OperatorConfig
from headwater.data.operators.kernels.texts import as_texts

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

NAME = "minhash_dedup"
REASON = "near_duplicate"


class MinhashDedupConfig(OperatorConfig):
    """Options of `minhash_dedup`.

    Attributes:
        ngram: Words in a shingle.
        bands, rows: Shape of the signature; 14 × 8 finds a pair of similarity 0.7 every other time (0.56), of 0.85
            nearly always (0.99).
        min_jaccard: Least true similarity for a removal.
        seed: Of the permutations. Another seed finds other candidates near the threshold.
        all_pairs_up_to: Documents in one bucket up to which each pair is a candidate; in larger ones each document
            is compared with the first and with its neighbour.
    """

    name: ClassVar[str] = NAME
    ngram: int = Field(default=5, ge=1, le=50)
    bands: int = Field(default=14, ge=1, le=256)
    rows: int = Field(default=8, ge=1, le=64)
    min_jaccard: float = Field(default=0.7, gt=0, le=1)
    seed: Whole = Field(default=1, ge=0)
    all_pairs_up_to: Whole = Field(default=32, ge=2)


def signatures(texts: Sequence[str] | pa.Array, config: MinhashDedupConfig) -> U64:
    """One 64-bit key for each band of each text, shape [texts, bands]; a text without a word gets zeros.

    The same as `band_keys(shingle_sets(texts, config.ngram), config)`, many times faster.
    """
    from headwater.data.operators.kernels.minhash import text_band_keys  # numba is imported when there is work for it

    data, offsets = as_texts(texts)
    keys = np.empty((len(offsets) - 1, config.bands), dtype=np.uint64)
    permutations = _permutations(config.bands * config.rows, config.seed)
    text_band_keys(data, offsets, *character_tables(), config.ngram, *permutations, keys)
    return keys


def shingle_sets(texts: Sequence[str] | pa.Array, n: int) -> list[U64]:
    """The sorted set of hashes of each text's n-word shingles; a text of fewer words has itself as its one shingle."""
    from headwater.data.operators.kernels.word_hashes import shingles

    data, offsets = as_texts(texts)
    count = len(offsets) - 1
    hashes, firsts = np.empty((len(data) + count) // 2 + 1, np.uint64), np.empty(count + 1, np.int64)
    shingles(data, offsets, *character_tables(), n, hashes, firsts)
    return [_distinct(hashes[a:b]) for a, b in pairwise(firsts.tolist())]


def band_keys(sets: Sequence[U64], config: MinhashDedupConfig) -> U64:
    """One 64-bit key for each band of each set, shape [sets, bands]; a set without shingles gets zeros."""
    from headwater.data.operators.kernels.minhash import set_band_keys

    keys = np.empty((len(sets), config.bands), dtype=np.uint64)
    permutations = _permutations(config.bands * config.rows, config.seed)
    set_band_keys(*_flat(sets), *permutations, keys)
    return keys


def candidate_pairs(keys: U64, limit: int) -> tuple[I64, I64]:
    """Places of candidate pairs among rows ordered by key (and within a key by preference): (earlier, later)."""
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.empty(0, np.int64)
    sizes = np.diff(np.append(starts, len(keys)))
    earlier: list[I64] = []
    later: list[I64] = []
    for size in np.unique(sizes[sizes > 1]).tolist():
        groups = starts[sizes == size]
        if size <= limit:
            a, b = np.triu_indices(size, 1)
        else:
            a = np.concatenate([np.zeros(size - 1, np.int64), np.arange(1, size - 1)])
            b = np.concatenate([np.arange(1, size), np.arange(2, size)])
        earlier.append((groups[:, None] + a[None, :]).ravel())
        later.append((groups[:, None] + b[None, :]).ravel())
    empty = [np.empty(0, np.int64)]
    return np.concatenate(earlier or empty), np.concatenate(later or empty)


def jaccard(a: U64, b: U64) -> float:
    """Similarity of two sorted sets: shared elements over all elements."""
    return float(jaccards([a], [b])[0])


def jaccards(first: Sequence[U64], second: Sequence[U64]) -> npt.NDArray[np.float64]:
    """Similarities of pairs of sorted sets, shape [pairs]."""
    from headwater.data.operators.kernels.sets import similarities

    found = np.empty(len(first), np.float64)
    similarities(*_flat(first), *_flat(second), found)
    return found


@lru_cache(maxsize=4)
def _permutations(count: int, seed: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Odd multipliers and offsets. Philox by name: its stream is fixed, `default_rng`'s may change."""
    random = np.random.Generator(np.random.Philox(key=seed))
    raw = random.bit_generator.random_raw(2 * count)
    values = (np.asarray(raw, dtype=np.uint64) >> np.uint64(32)).astype(np.uint32)
    return values[:count] | np.uint32(1), values[count:]


def _distinct(hashes: U64) -> U64:
    """Sorted, each once."""
    hashes = np.sort(hashes)
    fresh = np.ones(len(hashes), dtype=np.bool_)
    fresh[1:] = hashes[1:] != hashes[:-1]
    return hashes[fresh]


def _flat(sets: Sequence[U64]) -> tuple[U64, I64]:
    """Sets end to end, and where each begins."""
    firsts = np.zeros(len(sets) + 1, np.int64)
    np.cumsum([len(each) for each in sets], out=firsts[1:])
    return np.concatenate([np.empty(0, np.uint64), *sets]), firsts
