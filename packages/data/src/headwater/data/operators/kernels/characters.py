"""What each Unicode character is, as bits: the table that the kernels look characters up in."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

SPACE = 1  # as str.isspace()
LETTER = 2  # as str.isalpha()
CONTENT = 4  # more than punctuation
BREAK = 8  # ends a line for str.splitlines()
COUNTED = 16  # "#", "." and "…", which Gopher's rules count
TERMINAL = 32  # ends a sentence in some script
DIGIT = 64  # \d of a regular expression

_LAST = 0x32400  # beyond there are no letters, digits or spaces in Unicode 14-16
_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"

# Unicode's property Sentence_Terminal (PropList.txt), without quotation marks.
_TERMINAL_RANGES = (
    0x21, 0x2E, 0x3F, 0x589, (0x61D, 0x61F), 0x6D4, (0x700, 0x702), 0x7F9, 0x837, 0x839, (0x83D, 0x83E),
    (0x964, 0x965), (0x104A, 0x104B), 0x1362, (0x1367, 0x1368), 0x166E, (0x1735, 0x1736), (0x17D4, 0x17D6),
    (0x17D9, 0x17DA), 0x1803, 0x1809, (0x1944, 0x1945), (0x1AA8, 0x1AAB), (0x1B5A, 0x1B5B), (0x1B5E, 0x1B5F),
    (0x1B7D, 0x1B7E), (0x1C3B, 0x1C3C), (0x1C7E, 0x1C7F), (0x203C, 0x203D), (0x2047, 0x2049), 0x2E2E, 0x2E3C,
    (0x2E53, 0x2E54), 0x3002, 0xA4FF, (0xA60E, 0xA60F), 0xA6F3, 0xA6F7, (0xA876, 0xA877), (0xA8CE, 0xA8CF), 0xA92F,
    (0xA9C8, 0xA9C9), (0xAA5D, 0xAA5F), (0xAAF0, 0xAAF1), 0xABEB, 0xFE52, (0xFE56, 0xFE57), 0xFF01, 0xFF0E, 0xFF1F,
    0xFF61, (0x10A56, 0x10A57), (0x10F55, 0x10F59), (0x10F86, 0x10F89), (0x11047, 0x11048), (0x110BE, 0x110C1),
    (0x11141, 0x11143), (0x111C5, 0x111C6), 0x111CD, (0x111DE, 0x111DF), (0x11238, 0x11239), (0x1123B, 0x1123C),
    0x112A9, (0x1144B, 0x1144C), (0x115C2, 0x115C3), (0x115C9, 0x115D7), (0x11641, 0x11642), (0x1173C, 0x1173E),
    0x11944, 0x11946, (0x11A42, 0x11A43), (0x11A9B, 0x11A9C), (0x11C41, 0x11C42), (0x11EF7, 0x11EF8),
    (0x11F43, 0x11F44), (0x16A6E, 0x16A6F), 0x16AF5, (0x16B37, 0x16B38), 0x16B44, 0x16E98, 0x1BC9F, 0x1DA88,
)  # fmt: skip

# ASCII punctuation and symbols, controls, and the marks of CJK and European typesetting that CCNet (Wenzek et al.,
# LREC 2020) and the filters after it leave out when they count words.
_PUNCTUATION_RANGES = (
    (0x00, 0x08), (0x0B, 0x1F), (0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x9F), 0xAB, 0xB4, 0xBB,
    (0x2013, 0x2014), 0x2019, (0x201C, 0x201E), 0x2026, 0x2236, 0x2501, 0x25BA, (0x3001, 0x3002), (0x3008, 0x300D),
    (0x3010, 0x3011), 0xFF01, 0xFF05, (0xFF08, 0xFF09), 0xFF0C, 0xFF0E, 0xFF11, (0xFF1A, 0xFF1B), 0xFF1F, 0xFF5E,
)  # fmt: skip


@lru_cache(maxsize=1)
def character_bits() -> npt.NDArray[np.uint8]:
    """The bits above for every code point, shape [0x110000]."""
    bits = np.full(0x110000, CONTENT, dtype=np.uint8)
    characters = [chr(code) for code in range(_LAST)]
    for bit, predicate in ((SPACE, str.isspace), (LETTER, str.isalpha), (DIGIT, str.isdecimal)):
        bits[:_LAST] |= np.fromiter(map(predicate, characters), np.bool_, _LAST) * np.uint8(bit)
    for code in _codes(_TERMINAL_RANGES):
        bits[code] = (bits[code] | TERMINAL) & (0xFF - CONTENT)
    for code in _codes(_PUNCTUATION_RANGES):
        bits[code] &= 0xFF - CONTENT
    for character in _BREAKS:
        bits[ord(character)] |= BREAK
    for character in "#.…":
        bits[ord(character)] |= COUNTED
    return bits


def _codes(ranges: tuple[int | tuple[int, int], ...]) -> list[int]:
    pairs = [each if isinstance(each, tuple) else (each, each) for each in ranges]
    return [code for first, last in pairs for code in range(first, last + 1)]
