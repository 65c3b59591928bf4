"""What a pipeline asks of an engine. The pipeline is written once against this; an engine is an adapter.

Functions given to an engine are picklable objects that look at one batch, or at whole groups, and at nothing else.
The result of a pipeline must not depend on how an engine cuts or orders the rows: every choice between rows is made
inside `group_by_key`, in a stated order, and files are written there too (`sinks.py`).

Columns have types that every engine carries unchanged: strings, binary, signed integers, floats, booleans, lists and
structs of these. Keys are binary, strings or integers, never null, and spread evenly (hashes): rows of one key meet
in one place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

Dataset = Any
"""An engine's own handle on rows of one schema."""


class Reader(Protocol):
    """One unit of input: a picklable object that yields batches."""

    def __call__(self) -> Iterator[pa.RecordBatch]:
        """Reads the unit from its beginning."""
        ...


@dataclass(frozen=True)
class Needs:
    """What a function looks at. An engine may leave other columns and rows away before it calls the function.

    Attributes:
        columns: Names; those that the rows do not have are not missed.
        null: Only rows where this column, if there is one, is null.
        valid: Only rows where this column is not null.
        is_all: The function does no more than to leave away what it does not need: an engine may do that itself.
    """

    columns: tuple[str, ...]
    null: str | None = None
    valid: str | None = None
    is_all: bool = False


class BatchFunction(Protocol):
    """Turns one batch into batches of named outputs; it keeps nothing from one batch to the next.

    It may have an attribute `needs` of type `Needs`; without one it gets whatever there is.
    """

    @property
    def outputs(self) -> Mapping[str, pa.Schema]:
        """The schema of each output."""
        ...

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table | pa.RecordBatch]:
        """The rows of each output that come from this batch; an output may be missing."""
        ...


class GroupFunction(Protocol):
    """Turns whole groups into rows."""

    @property
    def output(self) -> pa.Schema:
        """The schema of the result."""
        ...

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Gets one or more whole groups, sorted by key and then by the order asked for."""
        ...


class Engine(Protocol):
    """The operations that pipelines use.

    `stage` names a step: for people, and so that an interrupted job finds what it has finished. Names are unique
    within a pipeline.
    """

    def read(self, readers: Sequence[Reader], schema: pa.Schema) -> Dataset:
        """Rows that will be read by these readers, one unit of work each."""
        ...

    def map_batches(self, stage: str, data: Dataset, function: BatchFunction) -> dict[str, Dataset]:
        """Applies a function to every batch, once, and keeps each output."""
        ...

    def derive(self, data: Dataset, function: BatchFunction) -> Dataset:
        """Applies a function with one output where its rows are used, as often as they are: for cheap ones."""
        ...

    def union(self, data: Sequence[Dataset]) -> Dataset:
        """All rows of several data sets of one schema."""
        ...

    def join(self, left: Dataset, right: Dataset, *, left_on: str, right_on: str, prefix: str = "") -> Dataset:
        """Adds the other columns of `right` (at most one row a key), named with a prefix, to `left`; null where
        missing.
        """
        ...

    def group_by_key(
        self, stage: str, data: Dataset, keys: Sequence[str], order: Sequence[str], function: GroupFunction
    ) -> Dataset:
        """Brings rows of equal keys together, sorted by `order` within a group, and applies a function."""
        ...

    def collect(self, data: Dataset) -> pa.Table:
        """A small result (counters), for the program that drives the job."""
        ...
