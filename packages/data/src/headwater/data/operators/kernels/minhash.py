"""MinHash signatures of word n-grams (Broder, 1997), from UTF-8 to band keys without anything in between."""

from __future__ import annotations

import numpy as np

from headwater.data.operators.kernels.compiled import compiled
from headwater.data.operators.kernels.word_hashes import hash_runs, hash_words

_LARGEST = np.uint32(0xFFFFFFFF)


@compiled
def text_band_keys(data, offsets, lower, kinds, n, multipliers, addends, keys):
    """Band keys of texts.

    Args:
        data, offsets: The texts.
        lower, kinds: `core.ngrams.character_tables()`.
        n: Words in a shingle.
        multipliers, addends: The permutations, bands times rows of them.
        keys: Result, shape [texts, bands]; zeros for a text without a word.
    """
    most = 0
    for text in range(len(offsets) - 1):
        most = max(most, offsets[text + 1] - offsets[text])
    scratch = np.empty(most + most // 2 + 32, np.uint8)
    hashes, values = np.empty(most // 2 + 1, np.uint64), np.empty(most // 2 + 1, np.uint32)
    signature = np.empty(len(multipliers), np.uint32)
    for text in range(len(offsets) - 1):
        count = hash_words(data, offsets[text], offsets[text + 1], lower, kinds, scratch, hashes)
        count = hash_runs(hashes, count, n, hashes)
        _sign(hashes, count, values, multipliers, addends, signature)
        _fold(signature, count, keys[text])


@compiled
def set_band_keys(hashes, firsts, multipliers, addends, keys):
    """Band keys of sets of shingles, hashes[firsts[k]:firsts[k + 1]]."""
    most = 0
    for k in range(len(firsts) - 1):
        most = max(most, firsts[k + 1] - firsts[k])
    values, signature = np.empty(most, np.uint32), np.empty(len(multipliers), np.uint32)
    for k in range(len(firsts) - 1):
        count = firsts[k + 1] - firsts[k]
        _sign(hashes[firsts[k] : firsts[k + 1]], count, values, multipliers, addends, signature)
        _fold(signature, count, keys[k])


@compiled
def _sign(hashes, count, values, multipliers, addends, signature):
    """The least (multiplier * value + addend) mod 2**32 over the upper halves of the hashes, for each permutation."""
    for k in range(count):
        values[k] = np.uint32(hashes[k] >> np.uint64(32))
    signature[:] = _LARGEST
    k = 0
    while k + 4 <= count:  # four at a time: the signature is read and written a quarter as often
        a, b, c, d = values[k], values[k + 1], values[k + 2], values[k + 3]
        for p in range(len(signature)):
            one = min(_permuted(multipliers[p], a, addends[p]), _permuted(multipliers[p], b, addends[p]))
            two = min(_permuted(multipliers[p], c, addends[p]), _permuted(multipliers[p], d, addends[p]))
            signature[p] = min(signature[p], min(one, two))
        k += 4
    while k < count:
        for p in range(len(signature)):
            signature[p] = min(signature[p], _permuted(multipliers[p], values[k], addends[p]))
        k += 1


@compiled
def _permuted(multiplier, value, addend):
    return np.uint32(multiplier * value + addend)


@compiled
def _fold(signature, count, keys):
    """One 64-bit key for each band; the band's number is part of it, so that bands never meet one another."""
    rows = len(signature) // len(keys)
    for band in range(len(keys)):
        key = np.uint64(band + 1) * np.uint64(0x9E3779B97F4A7C15)
        for row in range(rows):
            key = (key ^ np.uint64(signature[band * rows + row])) * np.uint64(0xD6E8FEB86659FD93)
            key ^= key >> np.uint64(32)
        keys[band] = key if count else np.uint64(0)
