"""How much of each text is repeated lines, paragraphs and word n-grams (Rae et al., arXiv:2112.11446, table A1)."""

from __future__ import annotations

import numpy as np

from headwater.data.operators.kernels.bytes8 import hash_bytes
from headwater.data.operators.kernels.columns import (
    LINE_CHARACTERS,
    LINES,
    PARAGRAPH_CHARACTERS,
    PARAGRAPHS,
    REPEATED_LINES,
    REPEATED_PARAGRAPHS,
)
from headwater.data.operators.kernels.compiled import compiled
from headwater.data.operators.kernels.tables import longest, slot_of, table_size

_BASE = np.uint64(0xD1B54A32D192ED03)


@compiled
def repetition(
    data, offsets, starts, stops, ends, hashes, first_words, line_starts, line_stops, line_lengths, line_hashes,
    first_lines, levels, is_duplicate, figures, top, duplicate,
):  # fmt: skip
    """Fills figures, top and duplicate.

    Args:
        data … first_lines: The split; see `scan`.
        levels: The n of the n-grams, ascending.
        is_duplicate: Whether repeated runs are wanted for each n.
        figures: The columns of `columns`, shape [texts, REPETITION_COLUMNS].
        top: Characters that the most frequent n-gram takes, shape [texts, levels].
        duplicate: Characters in n-grams that occurred before, shape [texts, levels].
    """
    most = max(longest(first_words), longest(first_lines))
    size = table_size(most)
    keys, counts = np.empty(size, np.uint64), np.empty(size, np.int32)
    places, sums, slots = np.empty(most, np.int64), np.empty(most, np.uint64), np.empty(most, np.int64)
    for text in range(len(offsets) - 1):
        first, end = first_words[text], first_words[text + 1]
        a, b = first_lines[text], first_lines[text + 1]
        _lines(data, offsets[text], offsets[text + 1], line_lengths[a:b], line_hashes[a:b], keys, counts, figures[text])
        figures[text, PARAGRAPHS] = 1
        if end > first:
            _paragraphs(data, starts[first], stops[end - 1], line_starts[a:b], line_stops[a:b], keys, counts,
                        figures[text])  # fmt: skip
        _ngrams(hashes[first:end], ends[first:end], levels, is_duplicate, keys, counts, places, sums, slots, top[text],
                duplicate[text])  # fmt: skip


@compiled
def _lines(data, begin, end, line_lengths, line_hashes, keys, counts, figures):
    r"""Lines as `re.split("\n+", text)` gives them: an empty one before leading and after trailing line feeds."""
    size = table_size(len(line_lengths))
    counts[:size] = 0
    total, repeated, characters = 0, 0, 0
    for line in range(len(line_lengths)):
        if line_lengths[line] > 0:
            total += 1
            slot = slot_of(keys, counts, size, line_hashes[line])
            if counts[slot]:
                repeated += 1
                characters += line_lengths[line]
            counts[slot] = 1
    if end > begin:
        leading, trailing = data[begin] == 10, data[end - 1] == 10
        total += leading + trailing
        repeated += leading and trailing
    figures[LINES], figures[REPEATED_LINES], figures[LINE_CHARACTERS] = total, repeated, characters


@compiled
def _paragraphs(data, begin, end, line_starts, line_stops, keys, counts, figures):
    r"""Paragraphs as `re.split("\n{2,}", text.strip())` gives them; begin and end are those of the stripped text."""
    lines = len(line_starts)
    size = table_size(lines)
    counts[:size] = 0
    total, repeated, characters, start = 0, 0, 0, -1
    for line in range(lines):
        if line_stops[line] <= begin or line_stops[line] == line_starts[line]:
            continue
        if line_starts[line] >= end:
            break
        if start < 0:
            start = max(begin, line_starts[line])
        last = line + 1 == lines or line_starts[line + 1] >= end
        if not last and line_stops[line + 1] > line_starts[line + 1]:
            continue  # the paragraph goes on
        stop = min(end, line_stops[line])
        slot = slot_of(keys, counts, size, hash_bytes(data, start, stop))
        total += 1
        if counts[slot]:
            repeated += 1
            for place in range(start, stop):
                characters += (data[place] & 0xC0) != 0x80
        counts[slot] = 1
        start = -1
    figures[PARAGRAPHS], figures[REPEATED_PARAGRAPHS], figures[PARAGRAPH_CHARACTERS] = total, repeated, characters


@compiled
def _ngrams(hashes, ends, levels, is_duplicate, keys, counts, places, sums, slots, top, duplicate):
    words = len(hashes)
    count, before = words, 1
    for place in range(words):
        places[place], sums[place] = place, hashes[place]
    for level in range(len(levels)):
        n = levels[level]
        # A run of n words that repeats begins where a shorter run repeats: the places to look at only get fewer.
        kept = 0
        for k in range(count):
            place = places[k]
            if place > words - n:
                break
            key = sums[k]
            for j in range(before, n):
                key = key * _BASE + hashes[place + j]
            places[kept], sums[kept] = place, key
            kept += 1
        size = table_size(kept)
        counts[:size] = 0
        for k in range(kept):
            slot = slot_of(keys, counts, size, sums[k])
            counts[slot] += 1
            slots[k] = slot
        most, winner = 1, 0  # of runs that occur equally often the first one counts
        count = 0
        for k in range(kept):
            times = counts[slots[k]]
            if times > most:
                most, winner = times, places[k]
            if times > 1:
                places[count], sums[count], slots[count] = places[k], sums[k], slots[k]
                count += 1
        before = n
        top[level], duplicate[level] = 0, 0
        if words >= n:
            top[level] = (_characters(ends, winner, winner + n) + n - 1) * most
        if is_duplicate[level]:
            resume, taken = 0, 0
            for k in range(count):
                if places[k] < resume:
                    continue
                if counts[slots[k]] < 0:  # seen before
                    taken += _characters(ends, places[k], places[k] + n)
                    resume = places[k] + n
                else:
                    counts[slots[k]] = -1
            duplicate[level] = taken


@compiled
def _characters(ends, first, stop):
    return np.int64(ends[stop - 1]) - (np.int64(ends[first - 1]) if first > 0 else 0)
