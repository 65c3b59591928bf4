"""What a pipeline asks of an engine. The pipeline is written once against this; an engine is an adapter.

Functions given to an engine are picklable objects that look at one batch, or at whole groups, and at nothing else.
The result of a pipeline must not depend on how an engine cuts or orders the rows: everything that leaves
through `write` is sorted there, and every choice between rows is made inside `group_by_key` in a stated order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

Dataset = Any
"""An engine's own handle on rows of one schema."""


class Reader(Protocol):
    """One unit of input: a picklable object that yields batches."""

    def __call__(self) -> Iterator[pa.RecordBatch]:
        """Reads the unit from its beginning."""
        ...


class BatchFunction(Protocol):
    """Turns one batch into batches of named outputs; it keeps nothing from one batch to the next."""

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

    `stage` names a step: for people, and so that an interrupted job finds what it has finished.
    """

    def read(self, readers: Sequence[Reader], schema: pa.Schema) -> Dataset:
        """Rows that will be read by these readers, one unit of work each."""
        ...

    def map_batches(self, stage: str, data: Dataset, function: BatchFunction) -> dict[str, Dataset]:
        """Applies a function to every batch."""
        ...

    def join(self, left: Dataset, right: Dataset, *, left_on: str, right_on: str, prefix: str = "") -> Dataset:
        """Adds the other columns of `right` (one row a key), named with a prefix, to `left`; null where missing."""
        ...

    def group_by_key(
        self, stage: str, data: Sequence[Dataset], keys: Sequence[str], order: Sequence[str], function: GroupFunction
    ) -> Dataset:
        """Brings rows of equal keys together, sorted by `order` within a group, and applies a function."""
        ...

    def connected_components(self, stage: str, edges: Dataset) -> Dataset:
        """Components of the graph with edges (`a`, `b`): rows (`node`, `component`), named by their least node."""
        ...

    def collect(self, data: Dataset) -> pa.Table:
        """A small result, for the program that drives the job."""
        ...

    def write(
        self, data: Sequence[Dataset], folder: Path, *, sort_by: Sequence[str], rows_per_file: int, schema: pa.Schema
    ) -> list[Path]:
        """Writes `part-00000.parquet`, … sorted by columns that tell all rows apart."""
        ...
