"""Parquet files of one task: written under a temporary name, renamed when all are whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.storage import storage_errors

ROW_GROUP_BYTES = 16_000_000
"""Rows in memory before they are written, about, for each output of a task."""


class PartFiles:
    """One file an output, for outputs that have rows. A context manager: leaving it makes the files appear.

    Args:
        folder: Holds one folder an output.
        outputs: The schema of each.
        name: Of the files, without ending: one task's own.
    """

    def __init__(self, folder: str, outputs: Mapping[str, pa.Schema], name: str) -> None:
        self.outputs = outputs
        self._folder, self._name = Path(folder), name
        # A dot: Spark does not read it. A random part: two machines may try the same task.
        self._hidden = f".{name}.{uuid4().hex}.tmp"
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._waiting: dict[str, list[pa.Table]] = {}
        self._bytes: dict[str, int] = {}

    def __enter__(self) -> PartFiles:
        return self

    def write(self, output: str, rows: pa.Table) -> None:
        """Appends rows of the output's schema."""
        self._waiting.setdefault(output, []).append(rows)
        self._bytes[output] = self._bytes.get(output, 0) + rows.nbytes
        if self._bytes[output] >= ROW_GROUP_BYTES:
            self._flush(output)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for output in list(self._waiting):
                    self._flush(output)
        finally:
            self._close(keep=kind is None)

    def _flush(self, output: str) -> None:
        rows, self._waiting[output], self._bytes[output] = self._waiting[output], [], 0
        if not rows:
            return
        folder = self._folder / output
        with storage_errors("write", folder):
            if output not in self._writers:
                folder.mkdir(parents=True, exist_ok=True)
                self._writers[output] = _open(folder / self._hidden, self.outputs[output])
            self._writers[output].write_table(pa.concat_tables(rows))

    def _close(self, keep: bool) -> None:
        for output, writer in self._writers.items():
            hidden = self._folder / output / self._hidden
            with storage_errors("write", hidden):
                try:
                    writer.close()
                    if keep:
                        hidden.replace(self._folder / output / f"{self._name}.parquet")
                finally:
                    hidden.unlink(missing_ok=True)


def _open(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    options: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": 1,
        "write_statistics": False,
        "use_dictionary": False,
    }  # texts and keys hardly ever repeat; zstd finds the rest
    return pq.ParquetWriter(path, schema, **options)


def total_bytes(folder: Path) -> int:
    """Bytes of a folder's files."""
    with storage_errors("list", folder):
        return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
