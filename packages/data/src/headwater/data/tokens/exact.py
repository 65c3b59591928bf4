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
from headwater.data.operators.kernels.bytes8 import load8
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
        if len(data) < 8:
            data = np.concatenate([data, np.zeros(8, np.uint8)])
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


_LEADS = np.uint64(0x8080808080808080)
_ONE, _TWO = np.uint64(1), np.uint64(2)


@compiled
def _scan(data, offsets, characters, beginnings, found):  # noqa: ANN001, ANN202
    safe = len(data) - 8
    for text in range(len(offsets) - 1):
        place, stop = offsets[text], offsets[text + 1]
        while place < stop:
            # A byte of 0xE0 or more begins a character of three or four bytes: its three highest bits are set.
            while place <= safe - 24:
                a, b = load8(data, place), load8(data, place + 8)
                c, d = load8(data, place + 16), load8(data, place + 24)
                leads = (a & (a << _ONE) & (a << _TWO)) | (b & (b << _ONE) & (b << _TWO))
                leads |= (c & (c << _ONE) & (c << _TWO)) | (d & (d << _ONE) & (d << _TWO))
                if leads & _LEADS or place >= stop:
                    break
                place += 32
            if place <= safe:
                a = load8(data, place)
                if not (a & (a << _ONE) & (a << _TWO) & _LEADS):
                    place += 8
                    continue
            until = min(place + 8, stop)
            while place < until:
                first = np.int64(data[place])
                if first >= 0xE0 and place + 2 < stop:
                    second, third = np.int64(data[place + 1]) & 63, np.int64(data[place + 2]) & 63
                    if beginnings[(first & 63) << 6 | second]:
                        code = (first & 15) << 12 | second << 6 | third
                        if first >= 0xF0 and place + 3 < stop:
                            code = (first & 7) << 18 | second << 12 | third << 6 | (np.int64(data[place + 3]) & 63)
                        if characters[min(code, 0x10FFFF)]:
                            found[text] = 1
                            place = until = stop
                place += 1
