"""Moving rows to where their key belongs, on Arrow data: what engines without a shuffle of their own share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.core.hashing import U64, mix64, powers
from headwater.data.arrow import compute, take
from headwater.data.engine import GroupFunction

I64 = npt.NDArray[np.int64]

JOINED_BYTES = 4_000_000
"""What a join adds to a batch at once, about: one long document may be the right side of any number of rows."""
MOVED_BYTES = 8_000_000
"""Rows that are copied from where they lie to where they belong at once, about; more where one group has more."""
_BASE = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2**64


def partitions_of(rows: pa.Table | pa.RecordBatch, keys: Sequence[str], count: int) -> I64:
    """The partition, 0 … count-1, of each row; equal keys have equal partitions. Shape [rows]."""
    if count == 1:
        return np.zeros(rows.num_rows, np.int64)
    mixed = np.zeros(rows.num_rows, np.uint64)
    for name in keys:
        mixed = mix64(mixed * np.uint64(3) + _hashes(rows.column(name)))
    return (mixed % np.uint64(count)).astype(np.int64)


def split(rows: pa.Table, keys: Sequence[str], count: int) -> Iterator[pa.Table]:
    """The rows of each partition, in their order; no more than about `MOVED_BYTES` are copied at once."""
    if count == 1:
        yield rows
        return
    owners = partitions_of(rows, keys, count)
    order = np.argsort(owners, kind="stable")
    sizes = bytes_of(rows)[order]
    bounds = np.searchsorted(owners[order], np.arange(count + 1))
    for part in slices(np.add.reduceat(np.append(sizes, 0), bounds[:-1]) * (np.diff(bounds) > 0), MOVED_BYTES):
        start, ends = int(bounds[part.start]), bounds[part.start : part.stop + 1].tolist()
        moved = gather(rows, order[start : ends[-1]])
        yield from (moved.slice(first - start, stop - first) for first, stop in pairwise(ends))


def run_groups(
    rows: pa.Table, keys: Sequence[str], order: Sequence[str], function: GroupFunction
) -> Iterator[pa.Table]:  # fmt: skip
    """Sorts one partition's rows and gives whole groups, of about `MOVED_BYTES` together, to a function.

    Rows that are mapped from files stay there until their groups' turn comes.
    """
    if not rows.num_rows:
        return
    places = sorted_places(rows, list(dict.fromkeys([*keys, *order])))
    begins = np.flatnonzero(_begins(rows.select(list(dict.fromkeys(keys))), places))
    ends = np.append(begins[1:], len(places))
    for part in slices(np.add.reduceat(bytes_of(rows)[places], begins), MOVED_BYTES):
        groups = gather(rows, places[begins[part.start] : ends[part.stop - 1]])
        yield function(groups).select(function.output.names).cast(function.output)


def _begins(keys: pa.Table, places: I64) -> npt.NDArray[np.bool_]:
    """Where a group begins, of rows at places that are sorted by all of the key's columns. Shape [places]."""
    found = np.zeros(len(places), np.bool_)
    found[:1] = True
    for column in gather(keys, places).columns:
        values = column.chunk(0)
        found[1:] |= compute.not_equal(values.slice(1), values.slice(0, len(values) - 1)).to_numpy(zero_copy_only=False)
    return found


def gather(rows: pa.Table, places: I64) -> pa.Table:
    """The rows at places, in one chunk.

    Arrow's own `take` copies all chunks of a column together first, however few of its rows are wanted.
    """
    chunks = rows.to_batches()
    if len(chunks) < 2:
        return take(rows, places).combine_chunks()
    starts = np.cumsum([0, *(chunk.num_rows for chunk in chunks)])
    order = np.argsort(places, kind="stable")
    sought = places[order]
    bounds = np.searchsorted(sought, starts).tolist()
    pieces = [
        take(chunk, sought[first:stop] - start)
        for chunk, start, first, stop in zip(chunks, starts.tolist(), bounds, bounds[1:], strict=False)
        if first < stop
    ]
    together = pa.Table.from_batches(pieces, schema=rows.schema).combine_chunks()
    del pieces
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return take(together, back).combine_chunks()


def bytes_of(rows: pa.Table) -> I64:
    """About how many bytes each row takes: those of strings and binary are counted, the others' are the mean."""
    counted = np.zeros(rows.num_rows, np.int64)
    for column in rows.columns:
        kind = column.type
        if pa.types.is_large_binary(kind) or pa.types.is_binary(kind) or pa.types.is_string(kind):
            counted += np.concatenate([np.diff(_offsets(chunk)) for chunk in column.chunks] or [np.empty(0, np.int64)])
    return counted + max(0, rows.nbytes - int(counted.sum())) // max(1, rows.num_rows)


def sorted_places(rows: pa.Table, names: Sequence[str]) -> I64:
    """The places of rows in ascending order of some columns. Shape [rows].

    Keys are hashes and mostly differ in their first eight bytes: numbers are sorted, and Arrow compares what is equal.
    """
    numbers = _numbers(rows.column(names[0]))
    if numbers is None:
        places, open_ = np.arange(rows.num_rows), np.ones(rows.num_rows, np.bool_)
    else:
        places = np.argsort(numbers)
        same = ~differs(numbers[places])
        open_ = same | np.append(same[1:], False)
    if open_.any():
        among = places[open_]
        order: Any = [(name, "ascending") for name in names]
        places[open_] = among[compute.sort_indices(take(rows.select(list(names)), among), sort_keys=order).to_numpy()]
    return places


def _numbers(column: Any) -> npt.NDArray[Any] | None:
    """Numbers in whose order the values of a key column stand, as far as they differ; None when there are none."""
    array: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_integer(array.type):
        return array.to_numpy(zero_copy_only=False)
    if not pa.types.is_binary(array.type):
        return None
    bounds = _offsets(array)
    size = int(bounds[1] - bounds[0]) if len(array) else 0
    if size < 8 or not (np.diff(bounds) == size).all():
        return None
    data = np.frombuffer(array.buffers()[2], np.uint8)[bounds[0] : bounds[-1]].reshape(len(array), size)
    return np.ascontiguousarray(data[:, :8]).view(">u8").ravel().astype(np.uint64)


def find(keys: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> I64:
    """The place of each wanted key in an ascending array of distinct keys, or -1. Shape [wanted]."""
    if not len(keys):
        return np.full(len(wanted), -1, np.int64)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, places, -1)


def sizes_of(rows: pa.Table, places: I64) -> I64:
    """The bytes of the rows at some places in columns of no fixed width; 0 for -1. Shape [places].

    Args:
        rows: In one chunk: nothing is copied.
        places: Of rows.
    """
    sizes = np.zeros(len(places), np.int64)
    for column in rows.columns if rows.num_rows else ():
        if pa.types.is_large_binary(column.type) or pa.types.is_binary(column.type) or pa.types.is_string(column.type):
            bounds = _offsets(column.chunk(0))
            sizes += np.where(places < 0, 0, bounds[places + 1] - bounds[places])
    return sizes


def slices(sizes: I64, most: int = JOINED_BYTES) -> Iterator[slice]:
    """Cuts rows into runs of at most so many bytes; a larger row is a run of its own."""
    first, ends = 0, np.cumsum(sizes)
    while first < len(sizes):
        before = int(ends[first - 1]) if first else 0
        stop = max(first + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield slice(first, stop)
        first = stop


def differs(keys: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """True where a key differs from the one before it: where a group begins, of sorted keys."""
    fresh = np.ones(len(keys), np.bool_)
    fresh[1:] = keys[1:] != keys[:-1]
    return fresh


def _offsets(array: Any) -> npt.NDArray[Any]:
    """Where each value of a string or binary array begins in its data, and where the last ends."""
    wide = pa.types.is_large_binary(array.type) or pa.types.is_large_string(array.type)
    bounds = np.frombuffer(array.buffers()[1], np.int64 if wide else np.int32)
    return bounds[array.offset : array.offset + len(array) + 1]


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
