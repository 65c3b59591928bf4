"""Line ends, blanks at the ends of lines and empty lines, in one pass over the bytes of a batch."""

from __future__ import annotations

import numpy as np

from headwater.data.operators.kernels.bytes8 import equal8, load8, store8, trailing_zeros
from headwater.data.operators.kernels.compiled import compiled

_FEED, _RETURN, _SPACE, _TAB = 0x0A, 0x0D, 0x20, 0x09
_BEFORE_A0 = 0xC2  # U+00A0, the no-break space, is C2 A0


@compiled
def clean_lines(data, offsets, whole, result, result_offsets):
    """Writes each text with line feeds as its line ends and none around it.

    A text that is not `whole` also gets spaces for its no-break spaces, and loses the spaces and tabs at the ends of
    its lines and all but one of a run of empty lines.

    Args:
        data, offsets: The texts; eight readable bytes after the end.
        whole: Shape [texts].
        result: At least eight bytes larger than `data`.
        result_offsets: Where each text begins in `result`, shape [texts + 1].
    """
    to = 0
    for text in range(len(offsets) - 1):
        result_offsets[text] = start = to
        place, stop, keep = offsets[text], offsets[text + 1], whole[text]
        while place < stop:
            eight = load8(data, place)
            notable = equal8(eight, _FEED) | equal8(eight, _RETURN) | equal8(eight, _BEFORE_A0)
            size = min(np.int64(trailing_zeros(notable) >> np.uint64(3)), stop - place)
            store8(result, to, eight)  # what is too much of it is written over
            place += size
            to += size
            if size == 8 or place >= stop:
                continue
            byte = data[place]
            place += 1
            if byte == _BEFORE_A0:
                if not keep and place < stop and data[place] == 0xA0:
                    byte = np.uint8(_SPACE)
                    place += 1
                result[to] = byte
                to += 1
            elif byte == _FEED or not (place < stop and data[place] == _FEED):  # "\r\n" is one end
                if not keep:
                    to = _without_blanks(result, start, to)
                    if to - start >= 2 and result[to - 1] == _FEED and result[to - 2] == _FEED:
                        continue
                if to > start:
                    result[to] = _FEED
                    to += 1
        if not keep:
            to = _without_blanks(result, start, to)
        while to > start and result[to - 1] == _FEED:
            to -= 1
    result_offsets[len(offsets) - 1] = to


@compiled
def _without_blanks(result, start, stop):
    while stop > start and (result[stop - 1] == _SPACE or result[stop - 1] == _TAB):
        stop -= 1
    return stop
