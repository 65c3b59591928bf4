"""Arrow files as `Dataset.save_to_disk` of the Hugging Face library writes them (the IPC stream format, or the file
format). The place of a record is the number of its row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.ipc as ipc

from headwater.data.readers.columns import top_level
from headwater.data.readers.items import BATCH_ROWS, Item
from headwater.data.readers.options import WHOLE, Options, Piece
from headwater.data.readers.parquet import DAMAGE, items_of, row_bytes

_FILE_MAGIC = b"ARROW1"


def cut(stream: IO[bytes], file: str, size: int, partition_bytes: int) -> list[tuple[int, int]]:
    """Whole files: a stream has no index."""
    return [(0, WHOLE)]


def read(stream: IO[bytes], piece: Piece, options: Options) -> Iterator[Item]:
    """The records, up to the first batch that cannot be read."""
    row = 0
    try:
        for batch in _batches(stream):
            names = top_level(batch.schema.names, options)
            if not names and batch.num_rows:
                yield Item(row, fault=f"no column {options.text} in {batch.num_rows:,} rows")
                row += batch.num_rows
                continue
            for start in range(0, batch.num_rows, BATCH_ROWS):
                for item in items_of(batch.slice(start, BATCH_ROWS).select(names), row, options):
                    yield item
                    row += 1
    except DAMAGE as error:
        yield Item(
            row, fault=f"no Arrow file that can be read from row {row:,} on: {' '.join(str(error).split())[:200]}"
        )


def record(stream: IO[bytes], file: str, place: int, payload_sha256: str, options: Options) -> bytes | None:
    """The bytes of the row's text; of a row without, the row as JSON."""
    row = 0
    try:
        for batch in _batches(stream):
            if row <= place < row + batch.num_rows:
                return row_bytes(pa.Table.from_batches([batch]), place - row, options)
            row += batch.num_rows
    except DAMAGE:
        return None
    return None


def _batches(stream: IO[bytes]) -> Iterator[Any]:
    head = stream.read(len(_FILE_MAGIC))
    stream.seek(0)
    source: Any = pa.PythonFile(cast("Any", stream), mode="r")
    if head == _FILE_MAGIC:
        reader: Any = ipc.open_file(source)
        found = (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        found = iter(ipc.open_stream(source))
    for batch in found:
        batch.validate(full=True)  # offsets that lie would lead outside the buffers
        yield batch
