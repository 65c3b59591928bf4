"""Writing documents from any engine: every file is one group, so no task holds more than a file.

A document's file follows from its id alone (ids are hashes, evenly spread) and from how many documents there are. So
files are cut at the same ids whatever the engine, and reading them in the order of their names gives the documents
ordered by source and id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.storage import storage_errors
from headwater.data.arrow import table, values
from headwater.data.engine import Dataset, Engine

ROWS_PER_ROW_GROUP = 250
_FILE = "file"
_WRITTEN = pa.schema([pa.field("name", pa.string()), pa.field("rows", pa.int64())])


def write_parquet(
    engine: Engine, stage: str, data: Dataset, folder: Path, *, schema: pa.Schema, order: Sequence[str],
    documents: Mapping[str, int], rows_per_file: int,
) -> list[str]:  # fmt: skip
    """Writes `part-00000.parquet`, …; a file that would hold nothing is left out.

    Args:
        engine: Where to run.
        stage: The step's name.
        data: Rows of `schema` with at least `source` and `id`.
        folder: Where the files go: a folder that all workers share.
        schema: Of the files.
        order: Columns that tell all rows apart; the first two are source and id.
        documents: Source → number of its rows.
        rows_per_file: Rows of one file, about.

    Returns:
        The files' names, in order.

    Raises:
        StorageError: The disk refused.
    """
    files: dict[str, tuple[int, int]] = {}
    first = 0
    for source, count in sorted(documents.items()):
        number = max(1, round(count / rows_per_file)) if count else 0
        files[source] = (first, number)
        first += number
    with storage_errors("create", folder):
        folder.mkdir(parents=True, exist_ok=True)
    placed = engine.derive(data, Place(files, schema))
    written = engine.group_by_key(stage, placed, [_FILE], order, WriteFiles(str(folder), schema))
    names = sorted(values(engine.collect(written), "name"))
    with storage_errors("tidy", folder):
        for leftover in folder.glob(".part-*.tmp"):  # of workers that were killed while they wrote
            leftover.unlink(missing_ok=True)
    return names


@dataclass(frozen=True)
class Place:
    """Adds the number of each document's file.

    Attributes:
        files: Source → (number of its first file, number of files).
        schema: Of the rows.
    """

    files: Mapping[str, tuple[int, int]]
    schema: pa.Schema
    outputs: Mapping[str, pa.Schema] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", {"rows": pa.schema([*self.schema, pa.field(_FILE, pa.int64())])})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """Reads `source` and `id`."""
        numbers: list[int] = []
        for source, identifier in zip(values(batch, "source"), values(batch, "id"), strict=True):
            first, count = self.files[source]
            numbers.append(first + (int(identifier[:8], 16) * count >> 32))
        rows = batch.select(self.schema.names)
        return {"rows": rows.append_column(pa.field(_FILE, pa.int64()), pa.array(numbers, pa.int64()))}


@dataclass(frozen=True)
class WriteFiles:
    """Writes one file a group."""

    folder: str
    schema: pa.Schema
    output: pa.Schema = _WRITTEN

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads rows sorted by file and by the order within it; returns the files' names and sizes."""
        numbers = groups.column(_FILE).to_numpy()
        bounds = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(numbers)]
        names: list[str] = []
        for start, end in pairwise(bounds):
            names.append(f"part-{numbers[start]:05d}.parquet")
            self._write(Path(self.folder) / names[-1], groups.slice(start, end - start))
        sizes = [end - start for start, end in pairwise(bounds)]
        return table({"name": names, "rows": sizes}, _WRITTEN)

    def _write(self, path: Path, rows: pa.Table) -> None:
        # A task may run twice (a lost worker, speculation): both write the same bytes, and the rename is whole.
        temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")  # also apart from another machine's
        with storage_errors("write", path):
            try:
                whole = rows.select(self.schema.names).cast(self.schema).combine_chunks()
                pq.write_table(whole, temporary, compression="zstd", row_group_size=ROWS_PER_ROW_GROUP)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
