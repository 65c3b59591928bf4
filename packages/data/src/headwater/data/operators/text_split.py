"""One split of a batch of texts into white-space words and lines, shared by all heuristic operators.

Works on the UTF-8 bytes of the Arrow column, with no Python string per word or line. White space is Unicode white space
(as `str.split()`), a line ends at a line feed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.data.operators.kernels import columns
from headwater.data.operators.kernels.characters import character_bits
from headwater.data.operators.kernels.texts import Texts, as_texts

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class TextSplit:
    """Words and lines of several texts. Places are bytes in `data`, lengths are characters.

    Attributes:
        data: The texts' UTF-8 bytes, laid end to end, and some zeros.
        offsets: Where each text begins in `data`, and one more for the end, shape [texts + 1].
        starts, stops: Where each word begins and ends, shape [words].
        ends: Characters in the words of the word's text, up to and with it, shape [words].
        hashes: A 64-bit hash of each word, shape [words].
        first_words: Number of each text's first word, shape [texts + 1].
        line_starts, line_stops: Where each line begins and ends (without line feed), shape [lines].
        line_lengths, line_words: Characters and words in each line, shape [lines].
        line_hashes: A 64-bit hash of each line, shape [lines].
        first_lines: Number of each text's first line, shape [texts + 1].
        break_words: For each line as `str.splitlines()` cuts them, the number of the first word after it.
        first_breaks: Number of each text's first line of that kind, shape [texts + 1].
        figures: Counts by the columns of `kernels.columns`, shape [texts, columns].
    """

    data: npt.NDArray[np.uint8]
    offsets: I64
    starts: I64
    stops: I64
    ends: npt.NDArray[np.int32]
    hashes: U64
    first_words: I64
    line_starts: I64
    line_stops: I64
    line_lengths: npt.NDArray[np.int32]
    line_words: npt.NDArray[np.int32]
    line_hashes: U64
    first_lines: I64
    break_words: I64
    first_breaks: I64
    figures: I64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def characters(self) -> I64:
        """Length of each text in characters, shape [texts]."""
        return self.figures[:, columns.CHARACTERS]

    @cached_property
    def words(self) -> I64:
        """Words in each text, shape [texts]."""
        return np.diff(self.first_words)


def split_texts(texts: Sequence[str] | pa.Array | Texts) -> TextSplit:
    """Splits several texts at once. Give a few megabytes a call: it needs about 5 bytes more a byte."""
    from headwater.data.operators.kernels.scan import scan  # numba is imported when there is work for it

    data, offsets = texts if isinstance(texts, Texts) else as_texts(texts)
    count = len(offsets) - 1
    words = (len(data) + count) // 2 + 1
    feeds = int(np.count_nonzero(data == 10)) + count
    arrays: dict[str, Any] = {}
    for size, names in (
        (words, {"starts": np.int64, "stops": np.int64, "ends": np.int32, "hashes": np.uint64}),
        (count + 1, {"first_words": np.int64}),
        (feeds, {"line_starts": np.int64, "line_stops": np.int64, "line_lengths": np.int32, "line_words": np.int32,
                 "line_hashes": np.uint64}),
        (count + 1, {"first_lines": np.int64}),
        (len(data) + count, {"break_words": np.int64}),
        (count + 1, {"first_breaks": np.int64}),
    ):  # fmt: skip
        arrays |= {name: np.empty(size, kind) for name, kind in names.items()}
    figures = np.empty((count, columns.SCAN_COLUMNS), np.int64)
    compiled: Any = scan
    compiled(data, offsets, character_bits(), *arrays.values(), figures)
    for firsts, names in (
        ("first_words", ("starts", "stops", "ends", "hashes")),
        ("first_lines", ("line_starts", "line_stops", "line_lengths", "line_words", "line_hashes")),
        ("first_breaks", ("break_words",)),
    ):
        arrays |= {name: arrays[name][: arrays[firsts][-1]] for name in names}
    return TextSplit(data=data, offsets=offsets, figures=figures, **arrays)


_last = threading.local()


def split_of(batch: pa.RecordBatch) -> TextSplit:
    """The split of a batch's text column. Operators that get the same column one after the other share it."""
    column = batch.column("text")
    kept: tuple[Any, TextSplit] | None = getattr(_last, "split", None)
    if kept is None or not _same(kept[0], column):
        kept = (column, split_texts(column))  # holding the column keeps its buffers from being reused
        _last.split = kept
    return kept[1]


def _same(a: Any, b: Any) -> bool:
    if len(a) != len(b) or a.offset != b.offset:
        return False
    addresses = [[buffer.address if buffer else 0 for buffer in array.buffers()] for array in (a, b)]
    return addresses[0] == addresses[1]
