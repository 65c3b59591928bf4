"""The embedded engine: datatrove's local executor, with partitions as Arrow files in the work folder.

A partition is finished when datatrove has marked it complete, which happens after its files were renamed into
place; a killed job, run again, skips those. Rows between steps lie in uncompressed Arrow files that are memory-mapped,
so the page cache holds them, not the processes. Grouping loads the columns it is given (keys, not texts).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from loguru import logger

from headwater.core.storage import storage_errors
from headwater.data.arrow import compute, take
from headwater.data.engine import BatchFunction, GroupFunction, Reader
from headwater.data.engines.processes import Workers

ROWS_PER_ROW_GROUP = 250
ROWS_PER_BATCH = 1_024


@dataclass(frozen=True, slots=True)
class ArrowPart:
    """A reader of one Arrow file."""

    path: str

    def __call__(self) -> Iterator[pa.RecordBatch]:
        """The file's batches, memory-mapped."""
        with (
            storage_errors("read", self.path),
            pa.memory_map(self.path) as source,
            pa.ipc.open_file(source) as reader,
        ):
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)


@dataclass(frozen=True, slots=True)
class JoinedPart:
    """A reader that adds columns from another file by a key."""

    left: Reader
    right: str
    left_on: str
    right_on: str
    prefix: str

    def __call__(self) -> Iterator[pa.RecordBatch]:
        """The left batches with the right columns."""
        table = _load(self.right)
        keys = table.column(self.right_on)
        for batch in self.left():
            places = compute.index_in(batch.column(self.left_on), value_set=keys)
            for name in table.column_names:
                if name != self.right_on:
                    column = table.column(name).take(places).combine_chunks()
                    batch = batch.append_column(pa.field(self.prefix + name, column.type), column)
            yield batch


@lru_cache(maxsize=2)
def _load(path: str) -> pa.Table:
    return pa.Table.from_batches(list(ArrowPart(path)()), schema=_schema(path)).combine_chunks()


def _schema(path: str) -> pa.Schema:
    with pa.memory_map(path) as source, pa.ipc.open_file(source) as reader:
        return reader.schema


@dataclass(frozen=True)
class LocalDataset:
    """Rows as a list of readers, one a partition."""

    schema: pa.Schema
    parts: tuple[Reader, ...]


class _MapTask(PipelineStep):
    """The datatrove step that runs one partition."""

    name = "map"
    type = "headwater"

    def __init__(self, parts: Sequence[Reader], function: BatchFunction, folder: Path) -> None:
        super().__init__()
        self.parts, self.function, self.folder = parts, function, folder

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Any:
        """Writes every output of partition `rank`; datatrove's signature."""
        writers = {
            name: _PartWriter(_part(self.folder, name, rank), schema) for name, schema in self.function.outputs.items()
        }
        try:
            for batch in self.parts[rank]():
                for name, rows in self.function(batch).items():
                    writers[name].write(rows)
            for writer in writers.values():
                writer.finish()
        finally:
            for writer in writers.values():
                writer.abandon()
        return data


class _PartWriter:
    """Writes one Arrow file under a temporary name and renames it when it is whole."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        self._temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        with storage_errors("write", path):
            self._sink = pa.OSFile(str(self._temporary), "wb")
            self._writer = pa.ipc.new_file(self._sink, schema)

    def write(self, rows: pa.Table | pa.RecordBatch) -> None:
        with storage_errors("write", self._path):
            if isinstance(rows, pa.RecordBatch):
                rows = pa.Table.from_batches([rows])
            self._writer.write_table(rows.select(self._schema.names).cast(self._schema), ROWS_PER_BATCH)

    def finish(self) -> None:
        with storage_errors("write", self._path):
            self._writer.close()
            self._sink.close()
            self._temporary.replace(self._path)

    def abandon(self) -> None:
        if not self._sink.closed:
            self._sink.close()
        self._temporary.unlink(missing_ok=True)


class _Executor(LocalPipelineExecutor):
    """datatrove's executor with its completion marks, on a pool that notices when a worker dies.

    datatrove's own pool waits for ever for the task of a worker that was killed (`multiprocessing.Pool`).
    """

    def __init__(self, stage: str, task: _MapTask, tasks: int, folder: Path) -> None:
        super().__init__(pipeline=[task], tasks=tasks, workers=1, logging_dir=str(folder))
        self.stage = stage

    def run_on(self, workers: Workers) -> None:
        """Runs the tasks that are not complete."""
        ranks = self.get_incomplete_ranks()
        workers.run(self.stage, _run_rank, [(self, rank) for rank in ranks], done=self.tasks - len(ranks))


def _run_rank(executor: _Executor, rank: int) -> None:
    logger.disable("datatrove")  # its lines are for clusters; errors come back as exceptions
    executor._run_for_rank(rank, local_rank=1)


class LocalEngine:
    """Runs pipelines on this machine. A context manager: leaving it ends the worker processes.

    Args:
        folder: Work folder; what it holds is reused, so it belongs to one pipeline and one configuration.
        workers: Processes.
    """

    def __init__(self, folder: Path, workers: int = 1) -> None:
        self.folder = folder
        self.workers = Workers(workers, "documents.engine.workers")
        self._seen: set[str] = set()

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        self.workers.__exit__(kind)

    def read(self, readers: Sequence[Reader], schema: pa.Schema) -> LocalDataset:
        """One partition a reader."""
        return LocalDataset(schema, tuple(readers))

    def map_batches(self, stage: str, data: LocalDataset, function: BatchFunction) -> dict[str, LocalDataset]:
        """Runs unfinished partitions in `workers` processes."""
        folder = self._stage(stage)
        task = _MapTask(data.parts, function, folder)
        _Executor(stage, task, len(data.parts), folder).run_on(self.workers)
        return {
            name: LocalDataset(schema, tuple(ArrowPart(str(_part(folder, name, i))) for i in range(len(data.parts))))
            for name, schema in function.outputs.items()
        }

    def join(
        self, left: LocalDataset, right: LocalDataset, *, left_on: str, right_on: str, prefix: str = ""
    ) -> LocalDataset:
        """Lazy; the right side is one memory-mapped file, so it may be larger than memory but is best small."""
        path = self._save(self._stage(f"join-{len(self._seen)}"), self.collect(right))
        added = [pa.field(prefix + f.name, f.type) for f in right.schema if f.name != right_on]
        parts = tuple(JoinedPart(part, str(path), left_on, right_on, prefix) for part in left.parts)
        return LocalDataset(pa.schema([*left.schema, *added]), parts)

    def group_by_key(
        self,
        stage: str,
        data: Sequence[LocalDataset],
        keys: Sequence[str],
        order: Sequence[str],
        function: GroupFunction,
    ) -> LocalDataset:
        """In this process: the rows are keys and ids."""
        folder = self._stage(stage)
        if not _part(folder, "rows", 0).exists():
            table = pa.concat_tables([self.collect(part) for part in data])
            table = table.take(compute.sort_indices(table, sort_keys=[(name, "ascending") for name in (*keys, *order)]))
            self._save(folder, function(table.combine_chunks()).cast(function.output))
        return LocalDataset(function.output, (ArrowPart(str(_part(folder, "rows", 0))),))

    def connected_components(self, stage: str, edges: LocalDataset) -> LocalDataset:
        """By scipy's union of sparse graphs."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        folder = self._stage(stage)
        table = self.collect(edges)
        nodes = compute.unique(
            pa.concat_arrays([c.combine_chunks() for c in (table.column("a"), table.column("b"))])
        ).sort()
        a, b = (compute.index_in(table.column(name), value_set=nodes).to_numpy() for name in ("a", "b"))
        graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(len(nodes), len(nodes)))
        _, labels = connected_components(graph, directed=False)
        _, first = np.unique(labels, return_index=True)  # nodes are sorted: the first of each label is the least
        found = pa.table({"node": nodes, "component": take(nodes, first[labels])})
        return LocalDataset(found.schema, (ArrowPart(str(self._save(folder, found))),))

    def collect(self, data: LocalDataset) -> pa.Table:
        """All rows, in partition order."""
        batches = [batch for part in data.parts for batch in part()]
        return pa.Table.from_batches(batches, schema=data.schema)

    def write(
        self,
        data: Sequence[LocalDataset],
        folder: Path,
        *,
        sort_by: Sequence[str],
        rows_per_file: int,
        schema: pa.Schema,
    ) -> list[Path]:
        """Sorts by the key columns first, then gathers the rows of one file after the other."""
        parts = [pa.Table.from_batches(list(part()), schema=rows.schema) for rows in data for part in rows.parts]
        parts = [part for part in parts if part.num_rows]
        keys = pa.concat_tables([part.select(list(sort_by)) for part in parts]) if parts else None
        if keys is None:
            return []
        order = (
            compute.sort_indices(keys, sort_keys=[(name, "ascending") for name in sort_by]).to_numpy().astype(np.int64)
        )
        bounds = np.cumsum([0, *(part.num_rows for part in parts)])
        paths: list[Path] = []
        with storage_errors("write", folder):
            folder.mkdir(parents=True, exist_ok=True)
            for start in range(0, len(order), rows_per_file):
                rows = order[start : start + rows_per_file]
                owner = np.searchsorted(bounds, rows, side="right") - 1
                chosen = [parts[p].take(rows[owner == p] - bounds[p]) for p in np.unique(owner).tolist()]
                back = np.argsort(np.concatenate([np.flatnonzero(owner == p) for p in np.unique(owner).tolist()]))
                table = pa.concat_tables(chosen).take(back).select(schema.names).cast(schema).combine_chunks()
                paths.append(folder / f"part-{len(paths):05d}.parquet")
                pq.write_table(table, paths[-1], compression="zstd", row_group_size=ROWS_PER_ROW_GROUP)
        return paths

    def _stage(self, stage: str) -> Path:
        if stage in self._seen:
            raise ValueError(f"two steps are called {stage}")
        self._seen.add(stage)
        folder = self.folder / stage
        with storage_errors("create", folder):
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob("*.tmp"):
                leftover.unlink(missing_ok=True)
        return folder

    def _save(self, folder: Path, table: pa.Table) -> Path:
        path = _part(folder, "rows", 0)
        writer = _PartWriter(path, table.schema)
        try:
            writer.write(table)
            writer.finish()
        finally:
            writer.abandon()
        return path


def clear(folder: Path) -> None:
    """Removes a work folder."""
    shutil.rmtree(folder, ignore_errors=True)


def _part(folder: Path, name: str, rank: int) -> Path:
    return folder / f"{name}-{rank:05d}.arrow"
