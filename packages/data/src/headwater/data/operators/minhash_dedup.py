"""Near-duplicates: MinHash bands find candidates (Broder, 1997; Leskovec et al., "Mining of Massive Datasets", ch. 3),
the true Jaccard similarity of their word n-grams decides.

The MinHash of permutation p is the least (a_p * h + b_p) mod 2**32 over the n-grams' hashes h; two documents are
candidates when all rows of one band agree, which for similarity s happens with probability 1 - (1 - s**rows)**bands.
Nothing is removed on the strength of a candidate alone, nor through a chain of neighbours: a document goes only if
its own similarity to a document that stays reaches `min_jaccard`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from pydantic import Field

from headwater.core.config import Whole
from headwater.core.ngrams import split_words
from headwater.data.operators.base import OperatorConfig

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

    ngram: int = Field(default=5, ge=1, le=50)
    bands: int = Field(default=14, ge=1, le=256)
    rows: int = Field(default=8, ge=1, le=64)
    min_jaccard: float = Field(default=0.7, gt=0, le=1)
    seed: Whole = Field(default=1, ge=0)
    all_pairs_up_to: Whole = Field(default=32, ge=2)


def shingle_sets(texts: Sequence[str], n: int) -> list[U64]:
    """The sorted set of hashes of each text's n-word shingles; a text of fewer words has itself as its one shingle."""
    split = split_words(texts)
    hashes, places = split.ngrams(n)
    bounds = np.searchsorted(places, split.first_words)
    sets = [np.unique(hashes[a:b]) for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]
    for text in np.flatnonzero(np.diff(bounds) == 0).tolist():
        first, end = int(split.first_words[text]), int(split.first_words[text + 1])
        if end > first:
            own, place = split.ngrams(end - first)
            sets[text] = own[np.searchsorted(place, first) : np.searchsorted(place, first) + 1]
    return sets


def band_keys(sets: Sequence[U64], config: MinhashDedupConfig) -> npt.NDArray[np.uint64]:
    """One 64-bit key for each band of each document, shape [documents, bands]; a set without shingles gets zeros."""
    multipliers, offsets = _permutations(config.bands * config.rows, config.seed)
    keys = np.zeros((len(sets), config.bands), dtype=np.uint64)
    for place, shingles in enumerate(sets):
        if not len(shingles):
            continue
        signature = np.full(len(multipliers), 0xFFFFFFFF, dtype=np.uint32)
        for start in range(0, len(shingles), 4096):  # keeps the table within the processor's cache
            # 32-bit multiply-shift: the upper half of a 64-bit product is as good as a random permutation here.
            block = (shingles[start : start + 4096] >> np.uint64(32)).astype(np.uint32)
            table = block[:, None] * multipliers[None, :] + offsets[None, :]
            np.minimum(signature, table.min(axis=0), out=signature)
        keys[place] = _fold(signature.reshape(config.bands, config.rows))
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
    if not len(a) or not len(b):
        return 0.0
    merged = np.concatenate([a, b])
    merged.sort(kind="stable")
    shared = int((merged[1:] == merged[:-1]).sum())
    return shared / (len(merged) - shared)


def resolve(sets: Sequence[U64], min_jaccard: float) -> list[tuple[int, float] | None]:
    """Decides for one cluster, ordered by preference.

    Returns:
        For each document: None when it stays, else (place of the document that stays in its stead, similarity).
    """
    kept: list[int] = []
    decisions: list[tuple[int, float] | None] = []
    for place, shingles in enumerate(sets):
        found: tuple[int, float] | None = None
        for other in kept:
            small, large = sorted((len(shingles), len(sets[other])))
            if small < min_jaccard * large:
                continue  # too different in size to be similar enough
            similarity = jaccard(sets[other], shingles)
            if similarity >= min_jaccard:
                found = (other, similarity)
                break
        decisions.append(found)
        if found is None:
            kept.append(place)
    return decisions


def detail(kept: str, similarity: float) -> str:
    """The verdict's detail: which document stays instead, and how similar it is."""
    return json.dumps({"kept": kept, "jaccard": round(similarity, 4)})


@lru_cache(maxsize=4)
def _permutations(count: int, seed: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Odd multipliers and offsets. Philox by name: its stream is fixed, `default_rng`'s may change."""
    random = np.random.Generator(np.random.Philox(key=seed))
    raw = random.bit_generator.random_raw(2 * count)
    values = (np.asarray(raw, dtype=np.uint64) >> np.uint64(32)).astype(np.uint32)
    return values[:count] | np.uint32(1), values[count:]


def _fold(rows: npt.NDArray[np.uint32]) -> U64:
    """One 64-bit key for each band; the band's number is part of it, so that bands never meet one another."""
    keys = np.arange(1, len(rows) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for column in range(rows.shape[1]):
        keys = (keys ^ rows[:, column].astype(np.uint64)) * np.uint64(0xD6E8FEB86659FD93)
        keys ^= keys >> np.uint64(32)
    return keys
