"""A hash table of 64-bit keys by open addressing. Equal keys are taken for equal things."""

from __future__ import annotations

import numpy as np

from headwater.data.operators.kernels.compiled import compiled


@compiled
def table_size(count):
    """Slots for so many keys: a power of two, at most half full."""
    size = 16
    while size < 2 * count:
        size *= 2
    return size


@compiled
def slot_of(keys, counts, size, key):
    """The slot of a key, where counts is 0 if the key is new; new keys are entered, their count is the caller's."""
    mask = np.uint64(size - 1)
    slot = (key ^ (key >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    slot = (slot >> np.uint64(32)) & mask
    while counts[slot] != 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    keys[slot] = key
    return np.int64(slot)


@compiled
def longest(firsts):
    """Most items of any text, at least 1, where firsts[text] is the number of a text's first item."""
    most = 1
    for text in range(len(firsts) - 1):
        most = max(most, firsts[text + 1] - firsts[text])
    return most
