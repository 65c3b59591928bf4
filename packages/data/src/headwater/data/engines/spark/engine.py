"""The Spark engine: data sets are DataFrames of parquet files in the work folder, work is done by `mapInArrow`.

Every step that the pipeline names is one Spark job that writes its rows as parquet in a folder of its own. The next
steps read from there, so nothing is computed twice, a lost worker costs the tasks that it held, and a killed job, run
again, finds whole steps by their `_SUCCESS` and, for the step that reads raw input, single units by their marks.
Only numbers come to the driver, and what the pipeline collects (counters).
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa

from headwater.core.storage import atomic_write, storage_errors
from headwater.data.engine import BatchFunction, GroupFunction, Needs, Reader
from headwater.data.engines.processes import workers_for
from headwater.data.engines.spark import tasks
from headwater.data.engines.spark.errors import clear_errors
from headwater.data.engines.spark.files import total_bytes
from headwater.data.engines.spark.options import SparkConfig
from headwater.data.engines.spark.progress import watched
from headwater.data.engines.spark.session import Opened, sql_options

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SHUFFLE_BYTES = 16_000_000
"""Compressed bytes of input for which a shuffle has one task, about."""
Work = Callable[[tasks.Batches], tasks.Batches]
_RIGHT_KEY = "__right_key"
_DONE = "_SUCCESS"


@dataclass(frozen=True)
class SparkDataset:
    """Rows as a DataFrame and functions that are still to be applied: all in one pass, where the rows are used.

    Attributes:
        base: The rows before the functions.
        base_schema: Theirs, with the types that functions get; Spark's own are wider.
        size: Bytes of the files behind them, about.
        steps: Functions with one output each.
        units: The readers, for rows that are not read yet and have no steps.
    """

    base: DataFrame
    base_schema: pa.Schema
    size: int
    steps: tuple[BatchFunction, ...] = ()
    units: tuple[Reader, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """Of the rows after the functions."""
        if not self.steps:
            return self.base_schema
        ((_, schema),) = self.steps[-1].outputs.items()
        return schema

    @property
    def derive(self) -> tasks.Derive:
        """The functions, for a task."""
        return tasks.Derive(self.base_schema, tasks.Shared.of(self.steps))

    @property
    def frame(self) -> DataFrame:
        """The rows after the functions."""
        return mapped(self.base, self.derive, self.schema) if self.steps else self.base

    def narrowed(self, needs: Needs | None) -> SparkDataset:
        """Less than all rows and columns, where a function says that it needs less."""
        if needs is None or self.steps:
            return self
        frame, names = self.base, [name for name in self.base_schema.names if name in needs.columns]
        if needs.null in self.base_schema.names:
            frame = frame.where(frame[needs.null].isNull())
        if needs.valid:
            frame = frame.where(frame[needs.valid].isNotNull())
        schema = pa.schema([self.base_schema.field(name) for name in names])
        return SparkDataset(frame.select(*names), schema, self.size)


def mapped(frame: DataFrame, work: Work, schema: pa.Schema) -> DataFrame:
    """`mapInArrow` with the types of `schema`."""
    from pyspark.sql.pandas.types import from_arrow_schema

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of pyspark about pandas, which nothing here uses
        return frame.mapInArrow(tasks.Task(work), from_arrow_schema(schema))  # pyright: ignore[reportArgumentType]


class SparkEngine:
    """Runs pipelines on Spark. A context manager: leaving it stops the session, unless that was active before.

    Args:
        folder: Work folder, shared by the driver and all workers; what it holds is reused, so it belongs to one
            pipeline and one configuration.
        options: The section `documents.engine.spark`.
        workers: Cores to use where no master is named; 0 means all.
        opened: A session that was opened for it with these options.
    """

    def __init__(
        self, folder: Path, options: SparkConfig | None = None, workers: int = 0, *, opened: Opened | None = None
    ) -> None:
        self.folder, self.options = folder.absolute(), options or SparkConfig()
        self._seen: set[str] = set()
        self._reads = 0
        opened = opened or Opened.start(self.options, workers_for(workers), self.folder)
        self._session = opened.session
        self._ending = ExitStack()
        self._ending.callback(opened.close)
        if not opened.owned:
            self._ending.enter_context(sql_options(self._session, self.options))

    def __enter__(self) -> SparkEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def read(self, readers: Sequence[Reader], schema: pa.Schema) -> SparkDataset:
        """One task a reader."""
        self._reads += 1
        units = tasks.Units.written(self.folder / f"read-{self._reads}", enumerate(readers))
        frame = mapped(self._tasks(len(readers)), tasks.ReadUnits(units, schema), schema)
        size = sum(getattr(reader, "size", 0) for reader in readers)
        return SparkDataset(frame, schema, size, units=tuple(readers))

    def map_batches(self, stage: str, data: SparkDataset, function: BatchFunction) -> dict[str, SparkDataset]:
        """One job. Of rows that are read here, every unit has files and a mark of its own."""
        if data.units:
            return self._filter_units(stage, data, function)
        rows, shared = data.narrowed(getattr(function, "needs", None)), tasks.Shared.of(function)
        return self._written(
            stage, function.outputs, lambda folder: (rows.base, tasks.WriteMapped(rows.derive, shared, str(folder)))
        )

    def derive(self, data: SparkDataset, function: BatchFunction) -> SparkDataset:
        """Lazy."""
        needs: Needs | None = getattr(function, "needs", None)
        rows = data.narrowed(needs)
        if needs and needs.is_all and not rows.steps:
            return rows  # Spark has done it
        return SparkDataset(rows.base, rows.base_schema, rows.size, (*rows.steps, function))

    def union(self, data: Sequence[SparkDataset]) -> SparkDataset:
        """Lazy."""
        frame = data[0].frame
        for other in data[1:]:
            frame = frame.unionByName(other.frame)
        return SparkDataset(frame, data[0].schema, sum(rows.size for rows in data))

    def join(
        self, left: SparkDataset, right: SparkDataset, *, left_on: str, right_on: str, prefix: str = ""
    ) -> SparkDataset:
        """Lazy. Spark broadcasts the right side when it is small."""
        from pyspark.sql import functions

        added = [pa.field(prefix + field.name, field.type) for field in right.schema if field.name != right_on]
        names = [_RIGHT_KEY if name == right_on else prefix + name for name in right.schema.names]
        keyed = right.frame.select(*right.schema.names).toDF(*names)
        same = functions.col(left_on) == functions.col(_RIGHT_KEY)
        frame = left.frame.join(keyed, same, "left").drop(_RIGHT_KEY)
        return SparkDataset(frame, pa.schema([*left.schema, *added]), left.size + right.size)

    def group_by_key(
        self, stage: str, data: SparkDataset, keys: Sequence[str], order: Sequence[str], function: GroupFunction
    ) -> SparkDataset:
        """One shuffle: rows meet by key, are sorted (on disk where memory does not suffice), and stream past."""
        count = self.options.shuffle_partitions or max(1, -(-data.size // SHUFFLE_BYTES))
        columns = dict.fromkeys([*keys, *order])
        frame = data.frame.repartition(count, *keys).sortWithinPartitions(*columns)
        shared = tasks.Shared.of(function)
        return self._written(stage, {"rows": function.output}, lambda folder: (
            frame, tasks.WriteGroups(data.schema, tuple(keys), shared, str(folder))
        ))["rows"]  # fmt: skip

    def collect(self, data: SparkDataset) -> pa.Table:
        """All rows."""
        with clear_errors():
            return data.frame.toArrow().select(data.schema.names).cast(data.schema)

    def _filter_units(self, stage: str, data: SparkDataset, function: BatchFunction) -> dict[str, SparkDataset]:
        folder = self._stage(stage)
        with storage_errors("create", folder):
            for name in function.outputs:
                (folder / name).mkdir(exist_ok=True)
        count, finished = len(data.units), tasks.marked(folder)
        left = [(number, unit) for number, unit in enumerate(data.units) if number not in finished]
        if left:
            units = tasks.Units.written(folder, left)
            work = tasks.FilterUnits(units, tasks.Shared.of(function), str(folder))
            self._run(stage, self._tasks(len(left)), work, done=count - len(left), total=count)
        return {name: self._files(folder / name, schema) for name, schema in function.outputs.items()}

    def _written(
        self,
        stage: str,
        outputs: Mapping[str, pa.Schema],
        plan: Callable[[Path], tuple[DataFrame, Work]],
    ) -> dict[str, SparkDataset]:
        """Runs a step into a folder of its own, unless an earlier attempt of the job has."""
        folder = self._stage(stage)
        done = folder / _DONE
        if not done.is_file():
            with storage_errors("prepare", folder):
                for leftover in folder.iterdir():
                    shutil.rmtree(leftover, ignore_errors=True)
                # A new name, because tasks of a job that was killed may still be writing.
                attempt = folder / f"attempt-{uuid4().hex[:8]}"
                for name in outputs:
                    (attempt / name).mkdir(parents=True)
            self._run(stage, *plan(attempt))
            atomic_write(done, attempt.name)
        attempt = folder / done.read_text()
        return {name: self._files(attempt / name, schema) for name, schema in outputs.items()}

    def _run(self, stage: str, frame: DataFrame, work: Work, *, done: int = 0, total: int | None = None) -> None:
        context = self._session.sparkContext
        with clear_errors(), watched(context, stage, done=done, total=total):
            mapped(frame, work, tasks.COUNTED).collect()

    def _tasks(self, count: int) -> DataFrame:
        """The numbers 0 … count-1, each in a task of its own."""
        return self._session.range(0, count, 1, max(1, count))

    def _files(self, folder: Path, schema: pa.Schema) -> SparkDataset:
        from pyspark.sql.pandas.types import from_arrow_schema

        with clear_errors():
            frame = self._session.read.schema(from_arrow_schema(schema)).parquet(folder.as_uri())
        return SparkDataset(frame, schema, total_bytes(folder))

    def _stage(self, stage: str) -> Path:
        if stage in self._seen:
            raise ValueError(f"two steps are called {stage}")
        self._seen.add(stage)
        folder = self.folder / stage
        with storage_errors("create", folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder
