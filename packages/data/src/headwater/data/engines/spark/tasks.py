"""What runs on Spark's workers: functions from Arrow batches to Arrow batches, for `DataFrame.mapInArrow`.

A task writes its rows itself, as parquet in the work folder, and gives Spark only their number: so each output of a
step is computed once, and lies where a later attempt of the job finds it. Files appear under their name when they are
whole; a task that runs twice (a lost worker, speculation) writes the same rows under the same name.
"""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from headwater.core.errors import DataError, HeadwaterError
from headwater.core.storage import storage_errors
from headwater.data import PRODUCER
from headwater.data.arrow import values
from headwater.data.engine import BatchFunction, Reader
from headwater.data.engines.arrow_files import ROWS_PER_BATCH, PartWriter
from headwater.data.engines.spark.errors import carried
from headwater.data.engines.spark.files import PartFiles
from headwater.data.engines.spark.groups import whole_groups

Batches = Iterator[pa.RecordBatch]

_UNITS = pa.schema([pa.field("number", pa.int64()), pa.field("reader", pa.binary())])
_MARKS = "_marks"
COUNTED = pa.schema([pa.field("rows", pa.int64())])
"""What a task that writes gives back."""


@dataclass(frozen=True)
class Task:
    """One function for `mapInArrow`; an error of Headwater's reaches the driver whole.

    Attributes:
        work: What to do with a task's batches.
        producer: The driver's version: another one on a worker could give other bytes.
    """

    work: Callable[[Batches], Batches]
    producer: str = PRODUCER

    def __call__(self, batches: Batches) -> Batches:
        """Runs the task."""
        try:
            if self.producer != PRODUCER:
                raise DataError(
                    "a Spark worker has another version of Headwater", found=PRODUCER, expected=self.producer,
                    hint="give the workers the driver's environment: headwater data spark-archive",
                )  # fmt: skip
            yield from self.work(batches)
        except HeadwaterError as error:
            raise carried(error) from error


@dataclass(frozen=True)
class Shared:
    """A function that a worker process reads once, and not for every task: some build an index when first used."""

    pickled: bytes

    @classmethod
    def of(cls, function: Any) -> Shared:
        """The function, for the way to the workers."""
        return cls(pickle.dumps(function))

    def get(self) -> Any:
        """The function, on a worker."""
        return _loaded(self.pickled)


@lru_cache(maxsize=4)
def _loaded(pickled: bytes) -> Any:
    return pickle.loads(pickled)  # noqa: S301 — the driver's own bytes


@dataclass(frozen=True)
class Units:
    """Numbered readers, in an Arrow file that all workers see: a task gets only the places of its own."""

    path: str

    @classmethod
    def written(cls, folder: Path, readers: Iterable[tuple[int, Reader]]) -> Units:
        """Writes the readers where every worker finds them.

        Args:
            folder: Made if needed.
            readers: Number of the unit, and its reader.
        """
        rows = [(number, pickle.dumps(reader)) for number, reader in readers]
        path = folder / "units.arrow"
        with storage_errors("create", folder):
            folder.mkdir(parents=True, exist_ok=True)
        columns = [pa.array([row[place] for row in rows], _UNITS.field(place).type) for place in (0, 1)]
        whole = pa.Table.from_arrays(columns, schema=_UNITS)
        writer = PartWriter(path, _UNITS)
        try:
            for first in range(0, whole.num_rows, ROWS_PER_BATCH):
                writer.write_batch(whole.slice(first, ROWS_PER_BATCH))
            writer.finish()
        finally:
            writer.abandon()
        return cls(str(path))

    def get(self, place: int) -> tuple[int, Reader]:
        """The unit in one row of the file: its number, and its reader."""
        if not Path(self.path).exists():
            raise DataError(
                "a Spark worker does not see the work folder", found=f"no {self.path} on {socket.gethostname()}",
                hint="put the run folder on storage that the driver and all workers share, under one path",
            )  # fmt: skip
        with storage_errors("read", self.path), pa.memory_map(self.path) as source, pa.ipc.open_file(source) as file:
            batch = file.get_batch(place // ROWS_PER_BATCH)
            number, reader = (column[place % ROWS_PER_BATCH].as_py() for column in batch.columns)
        return number, pickle.loads(reader)  # noqa: S301 — the driver's own bytes


@dataclass(frozen=True)
class ReadUnits:
    """Places of units → their rows."""

    units: Units
    schema: pa.Schema

    def __call__(self, batches: Batches) -> Batches:
        """Reads each unit."""
        for place in _places(batches):
            for batch in self.units.get(place)[1]():
                yield conformed(batch, self.schema)


@dataclass(frozen=True)
class FilterUnits:
    """Places of units → files and a mark for each, so that a unit is done once."""

    units: Units
    function: Shared
    folder: str

    def __call__(self, batches: Batches) -> Batches:
        """Reads each unit, applies the function, writes its outputs, and then the mark."""
        function: BatchFunction = self.function.get()
        for place in _places(batches):
            number, reader = self.units.get(place)
            rows = 0
            with PartFiles(self.folder, function.outputs, f"unit-{number:06d}") as files:
                for batch in reader():
                    rows += batch.num_rows
                    _write(files, function(batch))
            mark = Path(self.folder) / _MARKS / f"{number:06d}"
            with storage_errors("write", mark):
                mark.touch()
            yield _counted(rows)


def marked(folder: Path) -> set[int]:
    """The numbers of the units that are finished."""
    marks = folder / _MARKS
    with storage_errors("list", marks):
        marks.mkdir(exist_ok=True)
        return {int(mark.name) for mark in marks.iterdir()}


@dataclass(frozen=True)
class Derive:
    """Applies functions with one output each, one after the other.

    Attributes:
        schema: Of the rows that come.
        functions: A tuple of them; it may be empty.
    """

    schema: pa.Schema
    functions: Shared

    def __call__(self, batches: Batches) -> Batches:
        """The last function's rows."""
        rows = (conformed(batch, self.schema) for batch in batches if batch.num_rows)
        for function in self.functions.get():
            rows = _derived(rows, function)
        yield from rows


@dataclass(frozen=True)
class WriteMapped:
    """Applies a function to every derived batch and writes its outputs."""

    rows: Derive
    function: Shared
    folder: str

    def __call__(self, batches: Batches) -> Batches:
        """One file an output."""
        function: BatchFunction = self.function.get()
        rows = 0
        with PartFiles(self.folder, function.outputs, f"part-{_partition():06d}") as files:
            for batch in self.rows(batches):
                rows += batch.num_rows
                _write(files, function(batch))
        yield _counted(rows)


@dataclass(frozen=True)
class WriteGroups:
    """Gives whole groups to a function and writes its rows. The batches come sorted by key."""

    schema: pa.Schema
    keys: tuple[str, ...]
    function: Shared
    folder: str

    def __call__(self, batches: Batches) -> Batches:
        """One file."""
        function = self.function.get()
        rows = 0
        ours = (conformed(batch, self.schema) for batch in batches if batch.num_rows)
        with PartFiles(self.folder, {"rows": function.output}, f"part-{_partition():06d}") as files:
            for groups in whole_groups(ours, self.keys):
                rows += groups.num_rows
                files.write("rows", as_table(function(groups), function.output))
        yield _counted(rows)


def conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in the types of `schema`: Spark forgets which binary is large, and what cannot be null."""
    if batch.schema.equals(schema):
        return batch
    columns: list[Any] = [batch.column(name) for name in schema.names]
    typed = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(typed, schema=schema)


def as_table(rows: pa.Table | pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    """Rows that a function returned, in its output's columns and types."""
    whole = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
    return whole.select(schema.names).cast(schema)


def _derived(batches: Batches, function: BatchFunction) -> Batches:
    ((name, schema),) = function.outputs.items()
    for batch in batches:
        rows = function(batch).get(name)
        if rows is not None and rows.num_rows:
            yield from as_table(rows, schema).to_batches()


def _write(files: PartFiles, found: Mapping[str, pa.Table | pa.RecordBatch]) -> None:
    for name, rows in found.items():
        if rows.num_rows:
            files.write(name, as_table(rows, files.outputs[name]))


def _places(batches: Iterable[pa.RecordBatch]) -> Iterator[int]:
    for batch in batches:
        yield from values(batch, batch.schema.names[0])


def _counted(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"rows": [rows]}, schema=COUNTED)


def _partition() -> int:
    from pyspark import TaskContext

    context = TaskContext.get()
    assert context is not None
    return context.partitionId()
