"""Parquet files: one record a row. The place is the number of the row in the file; pieces are row groups."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from headwater.data.readers.columns import item_of, top_level
from headwater.data.readers.items import BATCH_ROWS, Item
from headwater.data.readers.options import WHOLE, Options, Piece

DAMAGE = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError,
          RecursionError)  # fmt: skip
"""What pyarrow raises for damage; failures of the store are `StorageError`, and none of these."""


def cut(stream: IO[bytes], file: str, size: int, partition_bytes: int) -> list[tuple[int, int]]:
    """Runs of row groups of about so many compressed bytes, told from the footer."""
    try:
        meta: Any = pq.ParquetFile(stream).metadata
        sizes = [_compressed(meta.row_group(group)) for group in range(meta.num_row_groups)]
    except DAMAGE:
        return [(0, WHOLE)]
    pieces: list[tuple[int, int]] = []
    start = held = 0
    for group, held_by_group in enumerate(sizes):
        if held and held + held_by_group > partition_bytes:
            pieces.append((start, group))
            start, held = group, 0
        held += held_by_group
    return [*pieces, (start, WHOLE)]


def read(stream: IO[bytes], piece: Piece, options: Options) -> Iterator[Item]:
    """The records of a piece's row groups; one that cannot be decoded is set aside from the row that was reached."""
    try:
        file: Any = pq.ParquetFile(stream)
        meta = file.metadata
        groups = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
        names = top_level([str(name) for name in file.schema_arrow.names], options)
    except DAMAGE as error:
        if piece.start == 0:
            yield Item(0, fault=f"no Parquet file that can be read: {_said(error)}")
        return
    first = 0
    for group, rows in enumerate(groups):
        if piece.start <= group < piece.stop:
            yield from _group(file, group, names, first, rows, options)
        first += rows


def _group(file: Any, group: int, names: list[str], first: int, rows: int, options: Options) -> Iterator[Item]:
    row = first
    try:
        if names:
            for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=names, use_threads=False):
                for item in items_of(batch, row, options):
                    yield item
                    row += 1
        else:
            for row in range(first, first + min(rows, 1)):
                yield Item(row, fault=f"no column {options.text} in {rows:,} rows")
            return
    except DAMAGE as error:
        left = first + rows - row
        yield Item(row, fault=f"row group {group} cannot be read from here on ({left:,} rows): {_said(error)}")


def items_of(batch: Any, first: int, options: Options) -> Iterator[Item]:
    """The items of a batch whose first row is number `first` of its file."""
    columns: dict[str, Any] = {}
    for name in batch.schema.names:
        column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        # Bytes, which need not be UTF-8 whatever the schema says, and of which no string has to be made.
        plain = name == options.text and not options.record and _is_string(column.type)
        columns[name] = column.cast(pa.large_binary()) if plain else column
    for row in range(batch.num_rows):
        try:
            yield item_of(first + row, {name: column[row].as_py() for name, column in columns.items()}, options)
        except DAMAGE as error:
            yield Item(first + row, fault=f"the row cannot be read: {_said(error)}")


def record(stream: IO[bytes], file: str, place: int, payload_sha256: str, options: Options) -> bytes | None:
    """The bytes of the row's text; of a row without, the row as JSON."""
    try:
        whole: Any = pq.ParquetFile(stream)
        first = 0
        for group in range(whole.metadata.num_row_groups):
            rows = whole.metadata.row_group(group).num_rows
            if first <= place < first + rows:
                return row_bytes(whole.read_row_group(group), place - first, options)
            first += rows
    except DAMAGE:
        return None
    return None


def row_bytes(table: Any, row: int, options: Options) -> bytes:
    """The bytes of a row's text; of a row without, the row as JSON."""
    one = table.slice(row, 1).combine_chunks().to_batches()[0]
    item = next(items_of(one, 0, options))
    return item.payload if not item.fault else json.dumps(one.to_pylist()[0], default=str).encode()


def _is_string(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _compressed(group: Any) -> int:
    return sum(group.column(place).total_compressed_size for place in range(group.num_columns))


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
