"""Typed access to Arrow data. pyarrow's own annotations know neither the types of columns nor list arrays."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

compute: Any = pyarrow.compute
Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)


def column(rows: pa.Table | pa.RecordBatch, name: str) -> Any:
    """A column, as pyarrow's array."""
    return rows.column(name)


def values(rows: pa.Table | pa.RecordBatch, name: str) -> list[Any]:
    """A column, as Python values."""
    return rows.column(name).to_pylist()


def table(columns: Mapping[str, Any], schema: pa.Schema | None = None) -> pa.Table:
    """A table of arrays or lists."""
    build: Any = pa.table
    return build(dict(columns), schema=schema)


def take(rows: Any, places: npt.NDArray[Any]) -> Any:
    """The rows (of an array or a table) at these places."""
    return rows.take(pa.array(places))


def packed(numbers: npt.NDArray[Any], firsts: npt.NDArray[Any] | None = None) -> Any:
    """64-bit integers as binary values, little end first.

    Args:
        numbers: Shape [rows, numbers].
        firsts: Where each value begins among the rows, and where the last ends; None: each row is a value.
    """
    build: Any = pa.Array.from_buffers
    buffer: Any = pa.py_buffer
    ends = np.arange(len(numbers) + 1) if firsts is None else firsts
    offsets = (ends * (8 * numbers.shape[1])).astype(np.int32)
    return build(pa.binary(), len(ends) - 1, [None, buffer(offsets), buffer(numbers.astype("<u8"))])


def utf8(texts: Any) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes under an array of strings, without a copy, and where each string begins and ends in them.

    Returns:
        Bytes, and offsets of shape [strings + 1]: string i is bytes[offsets[i]:offsets[i + 1]].
    """
    texts = texts.cast(pa.large_string())
    _, offsets, content = texts.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(content or b"", dtype=np.uint8), bounds if len(bounds) else np.zeros(1, np.int64)


def lists(sets: list[npt.NDArray[np.uint64]], *, large: bool = False) -> Any:
    """An array with one list of 64-bit integers a set."""
    offsets = np.cumsum([0, *(len(each) for each in sets)])
    flat = np.concatenate(sets) if sets else np.empty(0, np.uint64)
    kind: Any = pa.LargeListArray if large else pa.ListArray
    return kind.from_arrays(pa.array(offsets, pa.int64() if large else pa.int32()), pa.array(flat, pa.uint64()))


def sets(array: Any) -> list[npt.NDArray[Any]]:
    """The lists of a list array, without a copy."""
    if isinstance(array, pa.ChunkedArray):
        return [each for chunk in array.chunks for each in sets(chunk)]
    flat, offsets = array.values.to_numpy(), array.offsets.to_numpy().tolist()
    return [flat[start:end] for start, end in pairwise(offsets)]
