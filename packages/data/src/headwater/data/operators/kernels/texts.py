"""Texts as one buffer of bytes that a kernel can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

PADDING = 16  # kernels read eight bytes at a time, also at the end


class Texts(NamedTuple):
    """UTF-8 texts laid end to end.

    Attributes:
        data: Their bytes and `PADDING` zeros, shape [bytes + PADDING].
        offsets: Where each text begins, and one more for the end, shape [texts + 1].
    """

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]


def texts_of_array(array: Any) -> Texts:
    """The texts of an Arrow array of strings; null counts as empty.

    The bytes are copied: at 10 GB/s that costs nothing, and gives every kernel a padded buffer of one type.
    """
    if array.null_count:
        array = array.fill_null("")
    array = array.cast(pa.large_string())
    buffers = array.buffers()  # validity, offsets, bytes
    if not len(array):
        return Texts(np.zeros(PADDING, np.uint8), np.zeros(1, np.int64))
    offsets = np.frombuffer(buffers[1], np.int64)[array.offset : array.offset + len(array) + 1]
    first, end = int(offsets[0]), int(offsets[-1])
    data = np.empty(end - first + PADDING, np.uint8)
    data[end - first :] = 0
    if end > first:
        data[: end - first] = np.frombuffer(buffers[2], np.uint8)[first:end]
    return Texts(data, offsets - first)


def texts_of_strings(strings: Sequence[str]) -> Texts:
    """The texts of Python strings, which may hold lone surrogates."""
    parts = [string.encode("utf-8", "surrogatepass") for string in strings]
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    return Texts(np.frombuffer(b"".join(parts) + bytes(PADDING), np.uint8).copy(), offsets)


def as_texts(texts: Any) -> Texts:
    """Either of the two."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    return texts_of_array(texts) if isinstance(texts, pa.Array) else texts_of_strings(texts)


def strings(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Any:
    """An Arrow array of the texts data[offsets[i]:offsets[i + 1]]."""
    build: Any = pa.LargeStringArray.from_buffers
    buffer: Any = pa.py_buffer
    return build(len(offsets) - 1, buffer(offsets), buffer(data[: int(offsets[-1])])).cast(pa.string())
