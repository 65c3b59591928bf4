"""From token ids to what a token file holds, with a look on the way at whether they spell the documents.

Of every document the tokens have to be as long as its text, to the byte; of one in eight, each token's first eight
bytes are compared with the text at its place as well. Comparing all would cost a fifth of the time of encoding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater.data.operators.kernels.bytes8 import load8
from headwater.data.operators.kernels.compiled import compiled

_ONE, _EIGHT = np.uint64(1), np.uint64(8)
COMPARED = 8
"""Of so many documents, one is compared byte by byte."""


class Pieces:
    """The lengths and first bytes of every token, as the kernel reads them.

    Args:
        pieces: Token id → bytes, from 0 without gaps.

    Raises:
        ValueError: A gap, or a token of more than 65,535 bytes.
    """

    def __init__(self, pieces: dict[int, bytes]) -> None:
        if sorted(pieces) != list(range(len(pieces))) or max(map(len, pieces.values())) > 65535:
            raise ValueError("token ids with gaps, or a token of more than 65,535 bytes")
        texts = [pieces[number] for number in range(len(pieces))]
        longest = max(map(len, texts))
        self.lengths = np.array([len(text) for text in texts], np.uint16)
        self.heads = np.array([int.from_bytes(text[:8].ljust(8, b"\0"), "little") for text in texts], np.uint64)
        self.masks = np.array([(1 << (8 * min(length, 8))) - 1 for length in range(longest + 1)], np.uint64)


def lay_out(flat: Any, offsets: Any, end: int, text: Any, text_offsets: Any, pieces: Pieces, out: Any) -> int:
    """Writes the tokens of several documents as a token file holds them: end to end, each with the end-of-text token.

    Args:
        flat: Token ids, shape [tokens].
        offsets: Where each document's begin, shape [documents + 1].
        end: The end-of-text token's id.
        text: UTF-8 bytes of the documents, shape [bytes].
        text_offsets: Where each document's begin, shape [documents + 1].
        pieces: The lengths and first bytes of every token.
        out: Where to write, shape [tokens + documents] or longer.

    Returns:
        The number of the first document whose tokens do not spell its text; -1 if there is none.
    """
    if len(text) < 8:
        text = np.concatenate([text, np.zeros(8, np.uint8)])
    return int(
        _lay_out(flat, offsets, end, text, text_offsets, pieces.lengths, pieces.heads, pieces.masks, COMPARED, out)
    )


@compiled
def _lay_out(flat, offsets, end, text, text_offsets, lengths, heads, masks, every, out):  # noqa: ANN001, ANN202
    # Unsigned numbers, because a signed index costs a look at its sign, and no branch for a token: what differs is
    # collected. A token that is not known, or is beyond the text, counts as different and reads something harmless.
    to, top, safe = np.uint64(0), np.uint64(len(lengths) - 1), np.uint64(len(text) - 8)
    for document in range(len(offsets) - 1):
        place, stop = np.uint64(text_offsets[document]), np.uint64(text_offsets[document + 1])
        number, last = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        different = np.uint64(0)
        if document % every == 0:
            while number < last:
                token = np.uint64(flat[number])
                known = min(token, top)
                length = np.uint64(lengths[known])
                at = min(place, safe)
                eight = load8(text, np.int64(at)) >> (min(place - at, _EIGHT) * _EIGHT & np.uint64(63))
                different |= (token ^ known) | ((eight ^ heads[known]) & masks[length])
                place += length
                out[to] = token
                to += _ONE
                number += _ONE
        else:
            while number < last:
                token = np.uint64(flat[number])
                known = min(token, top)
                different |= token ^ known
                place += np.uint64(lengths[known])
                out[to] = token
                to += _ONE
                number += _ONE
        if place != stop or different:
            return document
        out[to] = end
        to += _ONE
    return -1
