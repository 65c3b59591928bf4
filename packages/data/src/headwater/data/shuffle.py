"""Moving rows to where their key belongs, on Arrow data: what engines without a shuffle of their own share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.core.hashing import U64, mix64, powers
from headwater.data.arrow import compute, take
from headwater.data.engine import GroupFunction

I64 = npt.NDArray[np.int64]

_BASE = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2**64


def partitions_of(rows: pa.Table | pa.RecordBatch, keys: Sequence[str], count: int) -> I64:
    """The partition, 0 … count-1, of each row; equal keys have equal partitions. Shape [rows]."""
    if count == 1:
        return np.zeros(rows.num_rows, np.int64)
    mixed = np.zeros(rows.num_rows, np.uint64)
    for name in keys:
        mixed = mix64(mixed * np.uint64(3) + _hashes(rows.column(name)))
    return (mixed % np.uint64(count)).astype(np.int64)


def split(rows: pa.Table, keys: Sequence[str], count: int) -> list[pa.Table]:
    """The rows of each partition, in their order."""
    if count == 1:
        return [rows]
    places = partitions_of(rows, keys, count)
    order = np.argsort(places, kind="stable")
    bounds = np.searchsorted(places[order], np.arange(count + 1)).tolist()
    moved = take(rows, order)
    return [moved.slice(bounds[p], bounds[p + 1] - bounds[p]) for p in range(count)]


def run_groups(rows: pa.Table, keys: Sequence[str], order: Sequence[str], function: GroupFunction) -> pa.Table:
    """Sorts one partition's rows and gives them to a function."""
    if not rows.num_rows:
        return function.output.empty_table()
    names = dict.fromkeys([*keys, *order])
    places = compute.sort_indices(rows.select(list(names)), sort_keys=[(name, "ascending") for name in names])
    return function(rows.take(places).combine_chunks()).select(function.output.names).cast(function.output)


def find(keys: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> I64:
    """The place of each wanted key in an ascending array of distinct keys, or -1. Shape [wanted]."""
    if not len(keys):
        return np.full(len(wanted), -1, np.int64)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, places, -1)


def _offsets(array: Any) -> npt.NDArray[np.int32]:
    """Where each value of a string or binary array begins in its data, and where the last ends."""
    return np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]


def plain(column: Any) -> npt.NDArray[Any]:
    """A key column as an array that numpy sorts as Arrow does: integers, or binary of one length.

    Raises:
        ValueError: The column is of another type, or its values differ in length.
    """
    array: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_integer(array.type):
        return array.to_numpy(zero_copy_only=False)
    if not pa.types.is_binary(array.type):
        raise ValueError(f"join keys are integers or binary, not {array.type}")
    if not len(array):
        return np.empty(0, "S1")
    bounds = _offsets(array)
    size = int(bounds[1] - bounds[0])
    if size < 1 or not (np.diff(bounds) == size).all():
        raise ValueError("binary join keys have one length")
    # All of one length, so the zero bytes that numpy strips from the end change no comparison.
    data: Any = array.buffers()[2]
    return np.frombuffer(data, f"S{size}", count=len(array), offset=int(bounds[0]))


def _hashes(column: Any) -> U64:
    array: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_integer(array.type):
        return array.to_numpy(zero_copy_only=False).astype(np.int64).view(np.uint64)
    if pa.types.is_string(array.type) or pa.types.is_binary(array.type):
        return _hash_bytes(array)
    raise ValueError(f"group keys are integers, strings or binary, not {array.type}")


def _hash_bytes(array: Any) -> U64:
    """A polynomial over the bytes of each value, modulo 2**64; the length is part of it."""
    if not len(array):
        return np.empty(0, np.uint64)
    bounds = _offsets(array).astype(np.int64)
    first, end = int(bounds[0]), int(bounds[-1])
    data = np.frombuffer(array.buffers()[2] or b"", np.uint8)[first:end]
    forward, backward = powers(_BASE, max(1024, 1 << len(data).bit_length()))
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum((data.astype(np.uint64) + np.uint64(1)) * forward[: len(data)], out=sums[1:])
    starts, stops = bounds[:-1] - first, bounds[1:] - first
    return mix64((sums[stops] - sums[starts]) * backward[starts] + (stops - starts).astype(np.uint64))
