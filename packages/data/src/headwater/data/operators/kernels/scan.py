"""One pass over the bytes of a batch: white-space words, lines, and what Gopher's quality rules count.

White space is that of `str.split()`. There are two kinds of lines: those that a line feed ends, and those of
`str.splitlines()`, of which only the number and the words are noted.
"""

from __future__ import annotations

import numpy as np

from headwater.data.operators.kernels.bytes8 import (
    between8,
    decode,
    first_clear8,
    hash_bytes,
    letters8,
    load8,
    spaces8,
)
from headwater.data.operators.kernels.characters import BREAK, CONTENT, COUNTED, LETTER, SPACE
from headwater.data.operators.kernels.columns import (
    BULLET_LINES,
    CHARACTERS,
    CONTENT_CHARACTERS,
    CONTENT_WORDS,
    ELLIPSES,
    ELLIPSIS_LINES,
    HASH_SIGNS,
    LETTER_WORDS,
    SPLIT_LINES,
)
from headwater.data.operators.kernels.compiled import compiled

_LOW = np.uint64(0x7F7F7F7F7F7F7F7F)


@compiled
def scan(
    data, offsets, bits, starts, stops, ends, hashes, first_words, line_starts, line_stops, line_lengths, line_words,
    line_hashes, first_lines, break_words, first_breaks, figures,
):  # fmt: skip
    """Fills the arrays; see `text_split.TextSplit`.

    Args:
        data, offsets: The texts.
        bits: `characters.character_bits()`.
        starts, stops, ends, hashes: Of each word: first byte, byte after the last, characters in the text's words up
            to its end, hash.
        first_words: Of each text.
        line_starts, line_stops, line_lengths, line_words, line_hashes: Of each line that a line feed ends: first byte,
            byte after the last, characters, words, hash.
        first_lines: Of each text.
        break_words: Of each line of `str.splitlines()`: number of the first word after it.
        first_breaks: Of each text.
        figures: The columns of `columns`, shape [texts, SCAN_COLUMNS].
    """
    word, line, soft = 0, 0, 0
    for text in range(len(offsets) - 1):
        begin, end = offsets[text], offsets[text + 1]
        first_words[text], first_lines[text], first_breaks[text] = word, line, soft
        place, foreign, characters = begin, 0, 0  # foreign: continuation bytes so far
        line_start, line_foreign, line_word = begin, 0, word
        soft_start, soft_word = begin, word
        content_words, content_characters, letter_words, hash_signs, ellipses = 0, 0, 0, 0, 0
        bullet_lines, ellipsis_lines = 0, 0
        while place < end:
            byte = data[place]
            if byte < 128:
                kind, size = bits[byte], 1
            else:
                code, size = decode(data, place, end)
                kind = bits[code]
            if kind & SPACE:
                if kind & BREAK:
                    feed = byte == 10
                    if feed:
                        line_starts[line], line_stops[line] = line_start, place
                        line_lengths[line] = place - line_start - (foreign - line_foreign)
                        line_words[line] = word - line_word
                        line_hashes[line] = hash_bytes(data, line_start, place)
                        line += 1
                        line_start, line_foreign, line_word = place + 1, foreign, word
                    if not (feed and place > begin and data[place - 1] == 13):  # "\r\n" is one end
                        if word > soft_word:
                            bullet_lines += _is_bullet(data, starts[soft_word])
                            ellipsis_lines += _ends_in_ellipsis(data, starts[word - 1], stops[word - 1])
                        break_words[soft] = word
                        soft += 1
                        soft_word = word
                    soft_start = place + size
                foreign += size - 1
                place += size
                continue
            start, extra, seen = place, 0, np.uint8(0)
            while place < end:  # the word's ASCII characters, eight at a time
                size, kind = _ascii_run(load8(data, place), end - place)
                seen |= kind
                place += size
                if size < 8:
                    break
            while place < end:  # what follows its first other character, if there is one
                code, size = decode(data, place, end)
                kind = bits[code]
                if kind & SPACE:
                    break
                seen |= kind
                extra += size - 1
                place += size
            foreign += extra
            length = place - start - extra
            characters += length
            starts[word], stops[word], ends[word] = start, place, characters
            hashes[word] = hash_bytes(data, start, place)
            word += 1
            if seen & CONTENT:
                content_words += 1
                content_characters += length
            if seen & LETTER:
                letter_words += 1
            if seen & COUNTED:
                signs, dots = _count(data, start, place)
                hash_signs += signs
                ellipses += dots
        line_starts[line], line_stops[line] = line_start, end
        line_lengths[line] = end - line_start - (foreign - line_foreign)
        line_words[line] = word - line_word
        line_hashes[line] = hash_bytes(data, line_start, end)
        line += 1
        if end > soft_start:
            if word > soft_word:
                bullet_lines += _is_bullet(data, starts[soft_word])
                ellipsis_lines += _ends_in_ellipsis(data, starts[word - 1], stops[word - 1])
            break_words[soft] = word
            soft += 1
        figures[text, CHARACTERS] = end - begin - foreign
        figures[text, CONTENT_WORDS] = content_words
        figures[text, CONTENT_CHARACTERS] = content_characters
        figures[text, LETTER_WORDS] = letter_words
        figures[text, HASH_SIGNS] = hash_signs
        figures[text, ELLIPSES] = ellipses
        figures[text, SPLIT_LINES] = soft - first_breaks[text]
        figures[text, BULLET_LINES] = bullet_lines
        figures[text, ELLIPSIS_LINES] = ellipsis_lines
    texts = len(offsets) - 1
    first_words[texts], first_lines[texts], first_breaks[texts] = word, line, soft


@compiled
def _ascii_run(eight, limit):
    """How many of eight bytes, at most `limit`, are ASCII and no white space, and which kinds occur among them."""
    ascii_ = eight & _LOW
    clear = ~(spaces8(ascii_) | eight)
    size = min(first_clear8(clear), limit)
    if size == 0:
        return size, np.uint8(0)
    mine = np.uint64(0x8080808080808080) >> np.uint64(64 - 8 * size)
    letters = letters8(ascii_) & mine
    content = (letters | between8(ascii_, 0x30, 0x39)) & mine
    counted = (between8(ascii_, 0x23, 0x23) | between8(ascii_, 0x2E, 0x2E)) & mine
    seen = (LETTER if letters else 0) | (CONTENT if content else 0) | (COUNTED if counted else 0)
    return size, np.uint8(seen)


@compiled
def _is_bullet(data, start):
    if data[start] == 0x2D:
        return 1
    return 1 if data[start] == 0xE2 and data[start + 1] == 0x80 and data[start + 2] == 0xA2 else 0


@compiled
def _ends_in_ellipsis(data, start, stop):
    if stop - start < 3:
        return 0
    a, b, c = data[stop - 3], data[stop - 2], data[stop - 1]
    return 1 if (a == 0x2E and b == 0x2E and c == 0x2E) or (a == 0xE2 and b == 0x80 and c == 0xA6) else 0


@compiled
def _count(data, start, stop):
    """Hash signs; ellipses, counted from the left without overlap."""
    signs, dots, run = 0, 0, 0
    for place in range(start, stop):
        byte = data[place]
        if byte == 0x2E:
            run += 1
            if run == 3:
                dots += 1
                run = 0
            continue
        run = 0
        if byte == 0x23:
            signs += 1
        elif byte == 0xE2 and place + 2 < stop and data[place + 1] == 0x80 and data[place + 2] == 0xA6:
            dots += 1
    return signs, dots


@compiled
def count_listed(data, starts, stops, hashes, first_words, listed, listed_data, listed_offsets, found):
    """How many different listed words each text holds.

    Args:
        data, starts, stops, hashes, first_words: The split.
        listed: Hashes of the listed words, sorted.
        listed_data, listed_offsets: Their bytes, in the same order.
        found: Result, shape [texts].
    """
    count = len(listed)
    seen = np.zeros(count, np.int64)  # number of the last text, plus one, that holds each
    filter_ = np.zeros(256, np.bool_)
    for k in range(count):
        filter_[listed[k] & np.uint64(255)] = True
    for text in range(len(first_words) - 1):
        different = 0
        for word in range(first_words[text], first_words[text + 1]):
            key = hashes[word]
            if not filter_[key & np.uint64(255)]:
                continue
            for k in range(count):
                if listed[k] == key and seen[k] != text + 1:
                    size = stops[word] - starts[word]
                    same = size == listed_offsets[k + 1] - listed_offsets[k]
                    if same:
                        for j in range(size):
                            same &= data[starts[word] + j] == listed_data[listed_offsets[k] + j]
                    if same:
                        seen[k] = text + 1
                        different += 1
            if different == count:
                break
        found[text] = different
