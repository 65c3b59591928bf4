"""C4's rules on lines (Raffel et al., JMLR 21(140), 2020), in the order of its published code."""

from __future__ import annotations

import numpy as np

from headwater.data.operators.kernels.bytes8 import decode
from headwater.data.operators.kernels.characters import DIGIT, SPACE
from headwater.data.operators.kernels.columns import (
    CHANGED,
    CITATIONS,
    CURLY,
    CURLY_BRACKET,
    JAVASCRIPT,
    KEPT,
    LOREM,
    LOREM_IPSUM,
    POLICY,
    TERMINAL_LINES,
    TOO_FEW_SENTENCES,
)
from headwater.data.operators.kernels.compiled import compiled

_PHRASES = ("javascript", "lorem ipsum", "cookie policy", "uses cookies", "use of cookies", "use cookies",
            "privacy policy", "terms of use")  # fmt: skip
_ANCHORS = "jpkkkkvf"  # a letter that occurs once in the phrase, and seldom elsewhere
_MEANINGS = (JAVASCRIPT, LOREM, POLICY, POLICY, POLICY, POLICY, POLICY, POLICY)
_KELVIN = 0xE2  # first byte of the Kelvin sign, whose lower case is k


def _packed(strings):
    table = np.zeros((len(strings), 16), np.uint8)
    for row, string in enumerate(strings):
        table[row, : len(string)] = list(string.encode())
    return table


_TABLE = _packed(_PHRASES)
_SIZES = np.array([len(phrase) for phrase in _PHRASES])
_PLACES = np.array([phrase.index(anchor) for phrase, anchor in zip(_PHRASES, _ANCHORS, strict=True)])
_MEANS = np.array(_MEANINGS)
_CITATIONS = _packed(("edit]", "citation needed]"))
_CITATION_SIZES = np.array([5, 16])
_NOTABLE = np.zeros(256, np.uint8)  # 1: may end a sentence; 2: a curly bracket; 4: a phrase's anchor
_NOTABLE[list(b".!?")] = 1
_NOTABLE[list(b"{")] = 2
_NOTABLE[[*b"jJpPkKvVfF", _KELVIN]] = 4


@compiled
def c4_lines(
    data, offsets, bits, starts, stops, first_words, break_words, first_breaks, switches, min_words, max_characters,
    min_sentences, result, result_offsets, outcomes, dropped, sentences,
):  # fmt: skip
    """Writes what is left of each text; a text that is set aside is written whole.

    Args:
        data … first_breaks: The split; see `scan`.
        switches: Of the rules, as the bits in `columns`.
        min_words, max_characters, min_sentences: Limits; 0 switches the last two off.
        result: At least as large as `data`.
        result_offsets: Where each text begins in `result`, shape [texts + 1].
        outcomes: KEPT, CHANGED …, shape [texts].
        dropped, sentences: Lines dropped, sentences left, shape [texts].
    """
    place = 0
    for text in range(len(offsets) - 1):
        begin = place
        result_offsets[text] = begin
        word, kept, total, outcome = first_words[text], 0, 0, KEPT
        for line in range(first_breaks[text], first_breaks[text + 1]):
            first, word = word, break_words[line]
            if word - first < min_words or _has_long_word(data, starts, stops, first, word, max_characters):
                continue
            start = place
            if kept:
                result[place] = 10
                start += 1
            stop = start
            if word > first:
                stop = _copy(data, starts[first], stops[word - 1], bits, switches & CITATIONS, result, start)
            if switches & TERMINAL_LINES and not _ends_sentence(result, start, stop):
                continue
            count, found = _look(result, start, stop, bits)
            found &= switches
            if found & LOREM:
                outcome = LOREM_IPSUM
                break
            if found & JAVASCRIPT:
                continue
            if found & CURLY:
                outcome = CURLY_BRACKET
                break
            if found & POLICY:
                continue
            total += count
            kept += 1
            place = stop
        if outcome == KEPT and total < min_sentences:
            outcome = TOO_FEW_SENTENCES
        if outcome == KEPT:
            place = _strip(result, begin, place, bits)
            if not _same(data, offsets[text], offsets[text + 1], result, begin, place):
                outcome = CHANGED
        else:
            size = offsets[text + 1] - offsets[text]
            result[begin : begin + size] = data[offsets[text] : offsets[text + 1]]
            place = begin + size
        outcomes[text], sentences[text] = outcome, total
        dropped[text] = first_breaks[text + 1] - first_breaks[text] - kept
    result_offsets[len(offsets) - 1] = place


@compiled
def _has_long_word(data, starts, stops, first, stop, limit):
    if limit == 0:
        return False
    for word in range(first, stop):
        if stops[word] - starts[word] > limit:
            characters = 0
            for place in range(starts[word], stops[word]):
                characters += (data[place] & 0xC0) != 0x80
            if characters > limit:
                return True
    return False


@compiled
def _copy(data, start, stop, bits, without_citations, result, place):
    """Copies a line without [1], [], [edit] and [citation needed]; returns the place after it."""
    while start < stop:
        if data[start] == 0x5B and without_citations:
            end = _citation(data, start + 1, stop, bits)
            if end > 0:
                start = end
                continue
        result[place] = data[start]
        start += 1
        place += 1
    return place


@compiled
def _citation(data, place, stop, bits):
    """Where the citation that began before this place ends; 0 if it is none."""
    for k in range(len(_CITATIONS)):
        size = _CITATION_SIZES[k]
        same = place + size <= stop
        for j in range(size):
            if same and data[place + j] != _CITATIONS[k, j]:
                same = False
        if same:
            return place + size
    while place < stop:
        if data[place] == 0x5D:
            return place + 1
        code, size = decode(data, place, stop)
        if not bits[code] & DIGIT:
            return 0
        place += size
    return 0


@compiled
def _ends_sentence(result, start, stop):
    if stop == start:
        return False
    last = result[stop - 1]
    if last == 0x2E:
        return not (stop - start >= 3 and result[stop - 2] == 0x2E and result[stop - 3] == 0x2E)
    return last == 0x3F or last == 0x21 or last == 0x22 or last == 0x27


@compiled
def _look(result, start, stop, bits):
    """Sentences of a line, and the phrases and brackets in it, as the switches' bits."""
    count, found = 0, 0
    for place in range(start, stop):
        kind = _NOTABLE[result[place]]
        if kind == 0:
            continue
        if kind == 1:
            count += _closes(result, place + 1, stop, bits)
        elif kind == 2:
            found |= CURLY
        else:
            for k in range(len(_TABLE)):
                if _matches(result, place, start, stop, k):
                    found |= _MEANS[k]
    return count, found


@compiled
def _closes(result, place, stop, bits):
    """1 if up to three closing quotation marks or brackets, and then a space or the end, follow."""
    for _ in range(4):
        if place >= stop:
            return 1
        byte = result[place]
        if byte == 0x22 or byte == 0x27 or byte == 0x29 or byte == 0x5D:
            place += 1
        elif (
            byte == 0xE2
            and place + 2 < stop
            and result[place + 1] == 0x80
            and (result[place + 2] == 0x9D or result[place + 2] == 0x99)
        ):
            place += 3
        else:
            break
    else:
        return 0
    code, _size = decode(result, place, stop)
    return 1 if bits[code] & SPACE else 0


@compiled
def _matches(result, place, start, stop, k):
    """Whether phrase k, in any case, lies around its anchor at this place."""
    anchor, size = _PLACES[k], _SIZES[k]
    extra = 0
    if result[place] == 0xE2:
        if _TABLE[k, anchor] != 0x6B or place + 2 >= stop or result[place + 1] != 0x84 or result[place + 2] != 0xAA:
            return False
        extra = 2
    elif result[place] | 0x20 != _TABLE[k, anchor]:
        return False
    if place - anchor < start or place - anchor + size + extra > stop:
        return False
    for j in range(size):
        if j != anchor:
            byte = result[place - anchor + j + (extra if j > anchor else 0)]
            if 0x41 <= byte <= 0x5A:
                byte |= 0x20
            if byte != _TABLE[k, j]:
                return False
    return True


@compiled
def _strip(result, begin, end, bits):
    """Takes white space off both ends of result[begin:end], which stays where it begins; returns the new end."""
    first = begin
    while first < end:
        code, size = decode(result, first, end)
        if not bits[code] & SPACE:
            break
        first += size
    while end > first:
        last = end - 1
        while last > first and result[last] & 0xC0 == 0x80:
            last -= 1
        code, _size = decode(result, last, end)
        if not bits[code] & SPACE:
            break
        end = last
    if first > begin:
        for k in range(end - first):
            result[begin + k] = result[first + k]
    return begin + end - first


@compiled
def _same(data, start, stop, result, begin, end):
    same = stop - start == end - begin
    place = 0
    while same and place < stop - start:
        same = data[start + place] == result[begin + place]
        place += 1
    return same
