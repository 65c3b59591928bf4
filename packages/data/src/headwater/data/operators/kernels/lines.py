"""What FineWeb's rules count about the lines of each text (Penedo et al., arXiv:2406.17557, section 3.6)."""

from __future__ import annotations

import numpy as np

from headwater.data.operators.kernels.bytes8 import decode
from headwater.data.operators.kernels.characters import TERMINAL
from headwater.data.operators.kernels.columns import (
    ENDED_LINES,
    FILLED_LINES,
    REPEATED_LINE_CHARACTERS,
    SHORT_LINES,
)
from headwater.data.operators.kernels.compiled import compiled
from headwater.data.operators.kernels.tables import longest, slot_of, table_size


@compiled
def line_figures(
    data, bits, line_starts, line_stops, line_lengths, line_words, line_hashes, first_lines, short, figures
):  # fmt: skip
    """Fills figures; lines without words count for nothing.

    Args:
        data, line_starts … first_lines: The split; see `scan`.
        bits: `characters.character_bits()`.
        short: Characters up to which a line is short.
        figures: The columns of `columns`, shape [texts, LINE_COLUMNS].
    """
    size = table_size(longest(first_lines))
    keys, counts = np.empty(size, np.uint64), np.empty(size, np.int32)
    for text in range(len(first_lines) - 1):
        size = table_size(first_lines[text + 1] - first_lines[text])
        counts[:size] = 0
        filled, ended, few, repeated = 0, 0, 0, 0
        for line in range(first_lines[text], first_lines[text + 1]):
            if line_words[line] == 0:
                continue
            filled += 1
            few += line_lengths[line] <= short
            # The published filter looks at the very last character: a line that ends in white space does not count.
            last = line_stops[line] - 1
            while data[last] & 0xC0 == 0x80 and last > line_starts[line]:
                last -= 1
            code, _size = decode(data, last, line_stops[line])
            if bits[code] & TERMINAL:
                ended += 1
            slot = slot_of(keys, counts, size, line_hashes[line])
            if counts[slot]:
                repeated += line_lengths[line]
            counts[slot] = 1
        figures[text, FILLED_LINES], figures[text, ENDED_LINES] = filled, ended
        figures[text, SHORT_LINES], figures[text, REPEATED_LINE_CHARACTERS] = few, repeated
