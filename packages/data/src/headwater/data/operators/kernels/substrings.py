"""Windows of words: where each word lies, which windows share an anchor, and the hash of a run of words."""

from __future__ import annotations

import numpy as np

from headwater.core.ngrams import ALONE, MARK, NOT_WORD
from headwater.data.operators.kernels.bytes8 import decode, mix
from headwater.data.operators.kernels.compiled import compiled
from headwater.data.operators.kernels.word_hashes import hash_runs, hash_words

_LANES = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_STEPS = np.uint64(0xD6E8FEB86659FD93), np.uint64(0xFF51AFD7ED558CCD)


@compiled
def place_words(data, place, stop, kinds, starts, stops):
    """The bytes [start, stop) of each word that `hash_words` hashes, in order.

    Args:
        data, place, stop: UTF-8.
        kinds: Of `core.ngrams.character_tables()`.
        starts, stops: Result; room for (bytes + 1) // 2 each.

    Returns:
        How many words there are.
    """
    count, inside, alone = 0, False, False
    while place < stop:
        code, width = decode(data, place, stop)
        kind = kinds[code]
        if kind == NOT_WORD:
            count += inside
            inside = alone = False
        else:
            if inside and kind != MARK and (alone or kind == ALONE):
                count += 1
                inside = False
            if not inside:
                starts[count] = place
            if kind != MARK:
                alone = kind == ALONE
            inside = True
            stops[count] = place + width
        place += width
    return count + inside


@compiled
def cut_end(data, stop, limit):
    """Where a cut ends whose last word ends at `stop`: after what sticks to the word, and the blanks that follow.

    Never beyond `limit`, where the next word or the end of the text is, nor beyond a line feed.
    """
    while stop < limit and not _is_space(data[stop]):
        stop += 1
    while stop < limit and data[stop] != 10 and _is_space(data[stop]):
        stop += 1
    return stop


@compiled
def _is_space(byte):
    return byte == 32 or 9 <= byte <= 13


@compiled
def hash_run(words, first, stop):
    """Two 64-bit hashes of words[first:stop]; the number of words is part of them."""
    a, b = _LANES[0] ^ np.uint64(stop - first), _LANES[1] + np.uint64(stop - first)
    for k in range(first, stop):
        a = (a ^ words[k]) * _STEPS[0]
        a ^= a >> np.uint64(32)
        b = (b ^ words[k]) * _STEPS[1]
        b ^= b >> np.uint64(29)
    return mix(a), mix(b)


@compiled
def anchors(data, offsets, lower, kinds, window, ngram, owners, keys, contexts, places, spans):
    """The anchors of texts: for each, the windows that share it, and all the words under them.

    Args:
        data, offsets: The texts.
        lower, kinds: `core.ngrams.character_tables()`.
        window: Words in a window.
        ngram: Words in an anchor.
        owners: Result: the text of each anchor; room for (bytes + texts) // 2.
        keys: Result: the hash of its n-gram.
        contexts: Result: two hashes of the words from the first window's first to the last one's last.
        places: Result: the number of the first window, and after it of the first window that is another's.
        spans: Result: the bytes to cut for all of them.

    Returns:
        How many anchors there are.
    """
    most = 0
    for text in range(len(offsets) - 1):
        most = max(most, offsets[text + 1] - offsets[text])
    scratch = np.empty(most + most // 2 + 32, np.uint8)
    words, grams = np.empty(most // 2 + 1, np.uint64), np.empty(most // 2 + 1, np.uint64)
    starts, stops = np.empty(most // 2 + 2, np.int64), np.empty(most // 2 + 2, np.int64)
    found = 0
    for text in range(len(offsets) - 1):
        end = offsets[text + 1]
        count = hash_words(data, offsets[text], end, lower, kinds, scratch, words)
        if count < window:
            continue
        place_words(data, offsets[text], end, kinds, starts, stops)
        starts[count] = end
        hash_runs(words, count, ngram, grams)
        first, anchor = 0, _rightmost_least(grams, 0, window - ngram + 1)
        for place in range(1, count - window + 2):
            last = place + window - ngram
            if place > count - window:
                following = -1
            elif anchor < place:
                following = _rightmost_least(grams, place, last + 1)
            else:
                following = last if grams[last] <= grams[anchor] else anchor
            if following != anchor:
                stop = place - 1 + window
                owners[found], keys[found] = text, grams[anchor]
                contexts[found, 0], contexts[found, 1] = hash_run(words, first, stop)
                places[found, 0], places[found, 1] = first, place
                spans[found, 0] = starts[first] - offsets[text]
                spans[found, 1] = cut_end(data, stops[stop - 1], starts[stop]) - offsets[text]
                found += 1
                first, anchor = place, following
    return found


@compiled
def _rightmost_least(values, first, stop):
    """The place of the least value, the rightmost of equals."""
    best = first
    for k in range(first + 1, stop):
        if values[k] <= values[best]:
            best = k
    return best


@compiled
def windows(data, offsets, lower, kinds, window, wanted, firsts, hashes, spans):
    """The hashes and bytes of some windows of texts.

    Args:
        data, offsets: The texts.
        lower, kinds: `core.ngrams.character_tables()`.
        window: Words in a window.
        wanted, firsts: Numbers of windows, in order; of text t, wanted[firsts[t]:firsts[t + 1]].
        hashes: Result, shape [wanted, 2].
        spans: Result: the bytes to cut for each, shape [wanted, 2].
    """
    most = 0
    for text in range(len(offsets) - 1):
        most = max(most, offsets[text + 1] - offsets[text])
    scratch, words = np.empty(most + most // 2 + 32, np.uint8), np.empty(most // 2 + 1, np.uint64)
    starts, stops = np.empty(most // 2 + 2, np.int64), np.empty(most // 2 + 2, np.int64)
    for text in range(len(offsets) - 1):
        end = offsets[text + 1]
        count = hash_words(data, offsets[text], end, lower, kinds, scratch, words)
        place_words(data, offsets[text], end, kinds, starts, stops)
        starts[count] = end
        for k in range(firsts[text], firsts[text + 1]):
            first, stop = wanted[k], wanted[k] + window
            hashes[k, 0], hashes[k, 1] = hash_run(words, first, stop)
            spans[k, 0] = starts[first] - offsets[text]
            spans[k, 1] = cut_end(data, stops[stop - 1], starts[stop]) - offsets[text]
