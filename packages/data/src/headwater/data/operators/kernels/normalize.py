"""White space as single spaces, letters in lower case."""

from __future__ import annotations

import numpy as np

from headwater.data.operators.kernels.bytes8 import decode, encode
from headwater.data.operators.kernels.characters import SPACE
from headwater.data.operators.kernels.compiled import compiled


@compiled
def normalize_texts(data, offsets, bits, lower, result, stops, special):
    """Writes each text as `" ".join(text.split()).lower()`.

    Args:
        data, offsets: The texts.
        bits: `characters.character_bits()`.
        lower: `core.ngrams.character_tables()`: lower case of single characters.
        result: Half as large again as `data`.
        stops: Where each text ends in `result`, shape [texts].
        special: Texts that are wrong, because they hold a capital sigma, whose lower case depends on the word, or a
            capital I with a dot, whose lower case is two characters, shape [texts].
    """
    to = 0
    for text in range(len(offsets) - 1):
        place, end = offsets[text], offsets[text + 1]
        begin, gap, odd = to, False, False
        while place < end:
            byte = data[place]
            if byte < 128:
                if bits[byte] & SPACE:
                    gap = True
                else:
                    if gap and to > begin:
                        result[to] = 0x20
                        to += 1
                    gap = False
                    result[to] = lower[byte]
                    to += 1
                place += 1
                continue
            code, size = decode(data, place, end)
            place += size
            if bits[code] & SPACE:
                gap = True
                continue
            if gap and to > begin:
                result[to] = 0x20
                to += 1
            gap = False
            odd |= code == 0x3A3 or code == 0x130
            to = encode(np.int64(lower[code]), result, to)
        stops[text], special[text] = to, odd
