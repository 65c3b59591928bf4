"""The fast encoder made exact: documents with characters on which libraries may disagree go to the reference.

A split asks whether a character is a letter, a digit or white space. Libraries carry the tables of different versions
of Unicode, so they disagree on characters that one of them does not know. Every character that this Python's table
(older than theirs) does not know is taken for one of those, and its whole document is encoded by the reference.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.data.arrow import take
from headwater.data.operators.kernels.bytes8 import load8, trailing_zeros
from headwater.data.operators.kernels.compiled import compiled
from headwater.data.tokens.encoder import Encoder, Fast, Ids, text_buffers

_FIRST = 0x800  # characters below take two bytes; nothing there has been assigned since Unicode 7, nor differs


class Exact:
    """An encoder.

    Attributes:
        name: The fast encoder's name.
        rerouted: How many documents went to the reference so far.
    """

    def __init__(self, fast: Fast, reference: Encoder) -> None:
        self.name = fast.name
        self.rerouted = 0
        self.fast = fast
        self._reference = reference

    def encode(self, texts: pa.Array) -> Ids:
        """The ids of each text."""
        ids = self.fast.encode(texts)
        places = np.flatnonzero(with_new_characters(texts))
        if not len(places):
            return ids
        self.rerouted += len(places)
        right = self._reference.encode(take(texts, places))
        parts = [ids.flat[start:stop] for start, stop in zip(ids.offsets[:-1], ids.offsets[1:], strict=True)]
        for number, place in enumerate(places):
            parts[place] = right.flat[right.offsets[number] : right.offsets[number + 1]]
        return Ids(np.concatenate(parts), np.cumsum([0, *map(len, parts)], dtype=np.int64))


def with_new_characters(texts: pa.Array) -> Any:
    """Which texts hold a character that this Python's table of Unicode does not know; shape [texts]."""
    found = np.zeros(len(texts), np.uint8)
    if len(texts):
        offsets, data = text_buffers(texts)
        _scan(data, offsets, *_unknown(), found)
    return found


@lru_cache(maxsize=1)
def _unknown() -> tuple[Any, Any]:
    """Character → 1 if it is not known; and the same for all characters that begin with the same two bytes."""
    characters = np.zeros(0x110000, np.uint8)
    characters[_FIRST:] = [unicodedata.category(chr(code)) == "Cn" for code in range(_FIRST, 0x110000)]
    characters[0xD800:0xE000] = 0
    beginnings = np.zeros(1 << 12, np.uint8)  # of the lead byte six bits, of the next six
    for code in np.flatnonzero(characters):
        first, second = chr(code).encode()[:2]
        beginnings[(first & 63) << 6 | (second & 63)] = 1
    return characters, beginnings


_HIGH, _GATHER = np.uint64(0x8080808080808080), np.uint64(0x0102040810204080)
_ZERO, _ONE, _TWO, _SEVEN, _TOP = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(7), np.uint64(56)
_SIX, _EIGHT, _SIX_BITS = np.uint64(6), np.uint64(8), np.uint64(63)


@compiled
def _scan(data, offsets, characters, beginnings, found):  # noqa: ANN001, ANN202
    # The texts lie end to end, and no character lies in two of them: their bounds matter only when something is found.
    size, text, place = len(data), 0, 0
    while place + 72 <= size:  # 64 bytes, and eight more that may be read at the last of them
        any_lead = _ZERO
        for word in range(8):
            any_lead |= _leads(load8(data, place + 8 * word))
        if any_lead:
            marks = _ZERO  # one bit a byte
            for word in range(8):
                # The product brings the eight bits together in its highest byte, the first byte's bit lowest.
                eight = (_leads(load8(data, place + 8 * word)) >> _SEVEN) * _GATHER >> _TOP
                marks |= eight << np.uint64(8 * word)
            while marks:
                at = place + np.int64(trailing_zeros(marks))
                marks &= marks - _ONE
                both = load8(data, at)
                # Here and not in a function that is called: nearly all characters end at this look.
                if beginnings[(both & _SIX_BITS) << _SIX | (both >> _EIGHT & _SIX_BITS)]:
                    text = _note(data, offsets, at, characters, text, found)
        place += 64
    for at in range(place, size):
        if data[at] >= 0xE0:
            text = _note(data, offsets, at, characters, text, found)


@compiled
def _leads(eight):  # noqa: ANN001, ANN202
    """The high bit of each byte of 0xE0 or more, which begins a character of three or four bytes."""
    return eight & (eight << _ONE) & (eight << _TWO) & _HIGH


@compiled
def _note(data, offsets, at, characters, text, found):  # noqa: ANN001, ANN202
    """Marks the text that a character is in, if it is not known; returns that text's number, else the one given."""
    if at + 2 >= len(data):
        return text
    first, second, third = np.int64(data[at]), np.int64(data[at + 1]) & 63, np.int64(data[at + 2]) & 63
    code = (first & 15) << 12 | second << 6 | third
    if first >= 0xF0 and at + 3 < len(data):
        code = (first & 7) << 18 | second << 12 | third << 6 | (np.int64(data[at + 3]) & 63)
    if characters[min(code, 0x10FFFF)]:
        while offsets[text + 1] <= at:
            text += 1
        found[text] = 1
    return text
