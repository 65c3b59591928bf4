"""Partitions as uncompressed Arrow files: memory-mapped, so that the page cache holds the rows, not the processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from headwater.core.storage import storage_errors

ROWS_PER_BATCH, BATCH_BYTES = 1_024, 1_000_000
"""A batch has so many rows, or more as long as they are small."""


@dataclass(frozen=True, slots=True)
class ArrowPart:
    """A reader of one Arrow file."""

    path: str

    @property
    def size(self) -> int:
        """Bytes."""
        return Path(self.path).stat().st_size

    def __call__(self) -> Iterator[pa.RecordBatch]:
        """The file's batches, memory-mapped."""
        with (
            storage_errors("read", self.path),
            pa.memory_map(self.path) as source,
            pa.ipc.open_file(source) as reader,
        ):
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)


class PartWriter:
    """Writes one Arrow file under a temporary name and renames it when it is whole."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        self._temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")  # another machine may try the same
        with storage_errors("write", path):
            self._sink = pa.OSFile(str(self._temporary), "wb")
            try:
                self._writer = pa.ipc.new_file(self._sink, schema)
            except OSError:
                self.abandon()
                raise

    def write(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Appends rows, in batches; none are written for no rows."""
        with storage_errors("write", self._path):
            if isinstance(rows, pa.RecordBatch):
                rows = pa.Table.from_batches([rows])
            small = BATCH_BYTES * rows.num_rows // max(1, rows.nbytes)
            self._writer.write_table(rows.select(self._schema.names).cast(self._schema), max(ROWS_PER_BATCH, small))

    def write_batch(self, rows: pa.Table) -> None:
        """Appends exactly one batch, also for no rows."""
        with storage_errors("write", self._path):
            batches = rows.combine_chunks().to_batches()
            self._writer.write_batch(batches[0] if batches else pa.RecordBatch.from_pylist([], schema=self._schema))

    def finish(self) -> None:
        """Makes the file appear."""
        with storage_errors("write", self._path):
            self._writer.close()
            self._sink.close()
            self._temporary.replace(self._path)

    def abandon(self) -> None:
        """Removes what was not finished."""
        if not self._sink.closed:
            self._sink.close()
        self._temporary.unlink(missing_ok=True)
