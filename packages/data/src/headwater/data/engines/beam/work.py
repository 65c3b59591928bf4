"""What Beam's workers do. Elements are names of units, and numbered pieces of rows; rows of units are read from files.

Letters: a *unit* is one reader, one file of an earlier step, or one partition of a shuffle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from headwater.data import shuffle
from headwater.data.arrow import take
from headwater.data.engine import BatchFunction, GroupFunction
from headwater.data.engines.failures import Failures, outputs_or_place
from headwater.data.engines.units import StageFolder, StoredReaders, read_unit

SPLIT_BYTES = 32_000_000
"""Rows of a unit that are cut into partitions at once: many small pieces cost more than one large one."""
LEFT, RIGHT = 0, 1


class Source(Protocol):
    """Where the rows of a unit come from. Picklable."""

    def name(self, element: Any) -> str:
        """The unit's name: the same in every attempt."""
        ...

    def rows(self, element: Any) -> Iterator[pa.RecordBatch]:
        """Its rows."""
        ...


@dataclass(frozen=True)
class ReaderUnits:
    """Elements are numbers of readers, as text."""

    readers: StoredReaders

    def name(self, element: str) -> str:
        """The number."""
        return element

    def rows(self, element: str) -> Iterator[pa.RecordBatch]:
        """What the reader reads."""
        return iter(self.readers.load(int(element))())


@dataclass(frozen=True)
class FileUnits:
    """Elements are names of units that an earlier step has finished."""

    folder: StageFolder
    output: str

    def name(self, element: str) -> str:
        """The earlier unit's name."""
        return element

    def rows(self, element: str) -> Iterator[pa.RecordBatch]:
        """What the step left."""
        return read_unit(self.folder, self.output, element)


@dataclass(frozen=True)
class JoinUnits:
    """Elements are partitions with pieces of both sides of a join: (partition, [(side, rows)])."""

    right: pa.Schema
    left_on: str
    right_on: str
    prefix: str

    def name(self, element: tuple[int, Any]) -> str:
        """The partition."""
        return f"{element[0]:05d}"

    def rows(self, element: tuple[int, Iterable[tuple[int, pa.RecordBatch]]]) -> Iterator[pa.RecordBatch]:
        """The left rows with the columns of the right ones. Only the right side is held in memory."""
        pieces = [rows for side, rows in element[1] if side == RIGHT]
        right = pa.Table.from_batches(pieces, schema=self.right).combine_chunks()
        keys = shuffle.plain(right.column(self.right_on))
        order = np.argsort(keys, kind="stable")
        known, right = keys[order], take(right, order).combine_chunks()
        for side, batch in element[1]:
            if side == LEFT:
                places = shuffle.find(known, shuffle.plain(batch.column(self.left_on)))
                for part in shuffle.slices(shuffle.sizes_of(right, places)):
                    yield self._joined(batch.slice(part.start, part.stop - part.start), places[part], right)

    def _joined(self, batch: pa.RecordBatch, places: shuffle.I64, right: pa.Table) -> pa.RecordBatch:
        where: Any = pa.array(places, mask=places < 0)
        for field in self.right:
            if field.name != self.right_on:
                column: Any = right.column(field.name).take(where).combine_chunks()
                batch = batch.append_column(pa.field(self.prefix + field.name, field.type), column)
        return batch


@dataclass(frozen=True)
class Unit:
    """A source, and the cheap functions that its rows go through."""

    source: Source
    functions: tuple[BatchFunction, ...] = ()

    def rows(self, element: Any) -> Iterator[pa.RecordBatch]:
        """The rows of one element."""
        rows = self.source.rows(element)
        for function in self.functions:
            rows = _derived(function, rows)
        return rows


def _derived(function: BatchFunction, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for _, table in outputs_or_place(function, rows):
        yield from table.to_batches()


class _Noted(beam.DoFn):
    """A function whose errors reach the driver whole."""

    def __init__(self, step: str, failures: Failures) -> None:
        super().__init__()
        self._step, self._failures = step, failures

    def name_of(self, element: Any) -> str:
        """What an element is called in messages."""
        raise NotImplementedError

    def work(self, element: Any) -> Iterable[Any]:
        """What is done with an element."""
        raise NotImplementedError

    def process(self, element: Any) -> Iterator[Any]:
        """Beam's entry."""
        try:
            yield from self.work(element)
        except Exception as error:
            self._failures.note(self._step, self.name_of(element), error)
            raise


class MapUnit(_Noted):
    """Writes every output of a unit, unless that is done; yields the unit's name under each output with rows.

    Attributes:
        branch: Tells units of several inputs apart.
    """

    def __init__(self, step: str, failures: Failures, unit: Unit, function: BatchFunction, folder: StageFolder,
                 branch: int) -> None:  # fmt: skip
        super().__init__(step, failures)
        self._unit, self._function, self._folder, self._branch = unit, function, folder, branch

    def name_of(self, element: Any) -> str:
        """Branch and name."""
        return unit_name(self._branch, self._unit.source.name(element))

    def work(self, element: Any) -> Iterator[Any]:
        """See the class."""
        name = self.name_of(element)
        counts = self._folder.finished(name)
        if counts is None:
            found = outputs_or_place(self._function, self._unit.rows(element))
            counts = self._folder.write(name, self._function.outputs, found)
        for output, rows in counts.items():
            if rows:
                yield TaggedOutput(output, name)


class SplitUnit(_Noted):
    """Cuts a unit's rows by the hash of the key: (partition, rows), or with a side (partition, (side, rows))."""

    def __init__(self, step: str, failures: Failures, unit: Unit, keys: Sequence[str], partitions: int,
                 side: int | None = None) -> None:  # fmt: skip
        super().__init__(step, failures)
        self._unit, self._keys, self._partitions, self._side = unit, tuple(keys), partitions, side

    def name_of(self, element: Any) -> str:
        """The unit's name."""
        return self._unit.source.name(element)

    def work(self, element: Any) -> Iterator[tuple[int, Any]]:
        """See the class."""
        waiting: list[pa.RecordBatch] = []
        size = 0
        for batch in self._unit.rows(element):
            waiting.append(batch)
            size += batch.nbytes
            if size >= SPLIT_BYTES:
                yield from self._pieces(waiting)
                waiting, size = [], 0
        if waiting:
            yield from self._pieces(waiting)

    def _pieces(self, batches: list[pa.RecordBatch]) -> Iterator[tuple[int, Any]]:
        pieces = shuffle.split(pa.Table.from_batches(batches), self._keys, self._partitions)
        for partition, rows in enumerate(pieces):
            for piece in rows.combine_chunks().to_batches():
                if piece.num_rows:
                    yield partition, (piece if self._side is None else (self._side, piece))


class GroupUnit(_Noted):
    """Applies a function to the groups of one partition, unless that is done; yields its name if rows came of it."""

    def __init__(self, step: str, failures: Failures, schema: pa.Schema, keys: Sequence[str], order: Sequence[str],
                 function: GroupFunction, folder: StageFolder) -> None:  # fmt: skip
        super().__init__(step, failures)
        self._schema, self._keys, self._order = schema, tuple(keys), tuple(order)
        self._function, self._folder = function, folder

    def name_of(self, element: tuple[int, Any]) -> str:
        """The partition."""
        return f"{element[0]:05d}"

    def work(self, element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[str]:
        """See the class."""
        name = self.name_of(element)
        counts = self._folder.finished(name)
        if counts is None:
            counts = self._folder.write(name, {ROWS: self._function.output}, self._groups(element[1]))
        if counts[ROWS]:
            yield name

    def _groups(self, pieces: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, pa.Table]]:
        rows = pa.Table.from_batches(list(pieces), schema=self._schema)
        for found in shuffle.run_groups(rows, self._keys, self._order, self._function):
            yield ROWS, found


ROWS = "rows"
"""The output of a step that has one."""


def unit_name(branch: int, name: str) -> str:
    """The name of a unit of one of several inputs."""
    return f"{branch:02d}-{name}"


@dataclass(frozen=True)
class Same:
    """Leaves rows as they are."""

    outputs: Mapping[str, pa.Schema]

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """The batch."""
        return {ROWS: batch}
