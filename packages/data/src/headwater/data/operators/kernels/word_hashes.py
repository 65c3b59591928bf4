"""Hashes of the words of `headwater.core.ngrams`, and of runs of them, straight from UTF-8.

The words are the same; the hashes are not those of `core.ngrams`, because these are taken eight bytes at a time.
"""

from __future__ import annotations

import numpy as np

from headwater.core.ngrams import ALONE, MARK, NOT_WORD
from headwater.data.operators.kernels.bytes8 import decode, encode, hash_bytes, hash_lower, load8, mix, word_length8
from headwater.data.operators.kernels.compiled import compiled

_BASE = np.uint64(0xD1B54A32D192ED03)


@compiled
def hash_words(data, place, stop, lower, kinds, scratch, hashes):
    """Hashes of the lower-cased words of data[place:stop], in order.

    Args:
        data, place, stop: UTF-8.
        lower, kinds: `core.ngrams.character_tables()`.
        scratch: Room for one word, half as much again as the text and `PADDING` bytes.
        hashes: Result; room for (bytes + 1) // 2.

    Returns:
        How many words there are.
    """
    count = 0
    while place < stop:
        size = word_length8(load8(data, place))
        if size == 0 and data[place] < 128:
            place += 1
            continue
        end = place + size
        while size == 8 and end < stop:
            size = word_length8(load8(data, end))
            end += size
        end = min(end, stop)
        if end < stop and data[end] >= 128:  # the word holds more than ASCII
            place, count = _hash_foreign(data, place, stop, lower, kinds, scratch, hashes, count)
            continue
        hashes[count] = hash_lower(data, place, end)
        count += 1
        place = end + 1
    return count


@compiled
def _hash_foreign(data, place, stop, lower, kinds, scratch, hashes, count):
    """Words up to the next character that belongs to none, of any script."""
    size, inside, alone = 0, False, False
    while place < stop:
        code, width = decode(data, place, stop)
        place += width
        kind = kinds[code]
        if kind == NOT_WORD:
            break
        if kind != MARK:
            if inside and (alone or kind == ALONE):
                hashes[count] = hash_bytes(scratch, 0, size)
                count += 1
                size = 0
            alone = kind == ALONE
        inside = True
        size = encode(np.int64(lower[code]), scratch, size)
    if inside:
        hashes[count] = hash_bytes(scratch, 0, size)
        count += 1
    return place, count


@compiled
def hash_runs(words, count, n, runs):
    """Hashes of all runs of n words; of fewer words, the one run of all.

    Args:
        words, count: `hash_words`.
        n: Words in a run.
        runs: Result; may be `words` itself.

    Returns:
        How many runs there are.
    """
    if count == 0:
        return 0
    n = min(n, count)
    first_power = np.uint64(1)
    for _ in range(n):
        first_power *= _BASE
    total = np.uint64(0)
    for k in range(n):
        total = total * _BASE + words[k]
    for k in range(count - n):
        oldest, newest = words[k], words[k + n]
        runs[k] = mix(total)
        total = total * _BASE + newest - oldest * first_power
    runs[count - n] = mix(total)
    return count - n + 1


@compiled
def shingles(data, offsets, lower, kinds, n, hashes, firsts):
    """Hashes of the n-word runs of each text, hashes[firsts[text]:firsts[text + 1]]; a short text has one."""
    most = 0
    for text in range(len(offsets) - 1):
        most = max(most, offsets[text + 1] - offsets[text])
    scratch = np.empty(most + most // 2 + 32, np.uint8)
    total = 0
    for text in range(len(offsets) - 1):
        firsts[text] = total
        mine = hashes[total:]
        count = hash_words(data, offsets[text], offsets[text + 1], lower, kinds, scratch, mine)
        total += hash_runs(mine, count, n, mine)
    firsts[len(offsets) - 1] = total


@compiled
def texts_with(data, offsets, lower, kinds, lengths, table, marks, near, hits):
    """Which texts hold a run of words that may be listed, or two runs that begin near each other.

    Args:
        data, offsets: The texts.
        lower, kinds: `core.ngrams.character_tables()`.
        lengths: Of the listed runs, in words.
        table, marks: As `list_runs` fills them.
        near: 0, or within how many words a second run of the same length has to begin.
        hits: Result, shape [texts].
    """
    most = 0
    for text in range(len(offsets) - 1):
        most = max(most, offsets[text + 1] - offsets[text])
    scratch = np.empty(most + most // 2 + 32, np.uint8)
    words, runs = np.empty(most // 2 + 1, np.uint64), np.empty(most // 2 + 1, np.uint64)
    for text in range(len(offsets) - 1):
        hits[text] = False
        count = hash_words(data, offsets[text], offsets[text + 1], lower, kinds, scratch, words)
        for length in lengths:
            if hits[text] or count < length:
                continue
            last = -near - 1
            for k in range(hash_runs(words, count, length, runs)):
                if _is_listed(table, marks, runs[k]):
                    if near == 0 or k - last <= near:
                        hits[text] = True
                        break
                    last = k


@compiled
def list_runs(hashes, table, marks):
    """Enters hashes of runs.

    Args:
        hashes: Of the runs.
        table: Open addressing, 0 is free; a power of two of places, at most half of them taken.
        marks: A bit for each run, shape [places of the table].
    """
    mask = np.uint64(len(table) - 1)
    for k in range(len(hashes)):
        byte, bit = _mark(hashes[k], len(marks))
        marks[byte] |= bit
        key = hashes[k] | np.uint64(1)  # never 0
        slot = (key >> np.uint64(32)) & mask
        while table[slot] != 0 and table[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = key


@compiled
def _is_listed(table, marks, run):
    byte, bit = _mark(run, len(marks))
    if not marks[byte] & bit:  # nearly always, and the marks fit into the cache, which the table may not
        return False
    mask = np.uint64(len(table) - 1)
    key = run | np.uint64(1)
    slot = (key >> np.uint64(32)) & mask
    while table[slot] != 0:
        if table[slot] == key:
            return True
        slot = (slot + np.uint64(1)) & mask
    return False


@compiled
def _mark(run, size):
    """The bit that stands for a run, among 8 × size of them."""
    return np.int64((run >> np.uint64(3)) & np.uint64(size - 1)), np.uint8(1 << (run & np.uint64(7)))
