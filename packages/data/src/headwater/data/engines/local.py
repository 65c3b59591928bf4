"""The embedded engine: datatrove's local executor, with partitions as Arrow files in the work folder.

A task is finished when datatrove has marked it complete, which happens after its files were renamed into place; a
killed job, run again, skips those. Rows are grouped by two rounds of tasks: the first cuts every partition by the hash
of the key, the second gathers one piece of each, sorts it and applies the function. Joins look keys up in sorted,
memory-mapped files, so the left side (texts) never moves. No task holds more than about `SHUFFLE_BYTES`, or one group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from headwater.core.storage import storage_errors
from headwater.data import shuffle
from headwater.data.arrow import take
from headwater.data.engine import BatchFunction, GroupFunction, Reader
from headwater.data.engines.arrow_files import ArrowPart, PartWriter
from headwater.data.engines.processes import Workers
from headwater.data.engines.tally import Tally, tells

SHUFFLE_BYTES = 32_000_000
"""Rows that one task gathers, about. It decides how many tasks there are, and so no byte of the result."""


@dataclass(frozen=True)
class LocalDataset:
    """Rows as a list of readers, one a partition."""

    schema: pa.Schema
    parts: tuple[Reader, ...]

    @property
    def size(self) -> int:
        """Bytes, as far as they are known."""
        return sum(getattr(part, "size", 0) for part in self.parts)


@dataclass(frozen=True)
class DerivedPart:
    """A reader that applies a function with one output."""

    base: Reader
    function: BatchFunction

    @property
    def size(self) -> int:
        """Bytes before the function."""
        return getattr(self.base, "size", 0)

    def __call__(self) -> Iterator[pa.RecordBatch]:
        """The function's rows."""
        ((name, schema),) = self.function.outputs.items()
        for batch in self.base():
            rows = self.function(batch).get(name)
            if rows is not None and rows.num_rows:
                whole = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
                yield from whole.select(schema.names).cast(schema).to_batches()


@dataclass(frozen=True)
class JoinedPart:
    """A reader that adds columns from sorted files by a key.

    Attributes:
        left: The reader.
        right: One file for each partition of the key, sorted by it.
        schema: Of the right side.
        left_on, right_on, prefix: See `Engine.join`.
    """

    left: Reader
    right: tuple[str, ...]
    schema: pa.Schema
    left_on: str
    right_on: str
    prefix: str

    @property
    def size(self) -> int:
        """Bytes of the left side."""
        return getattr(self.left, "size", 0)

    def __call__(self) -> Iterator[pa.RecordBatch]:
        """The left batches with the right columns."""
        names = [name for name in self.schema.names if name != self.right_on]
        for batch in self.left():
            keys = shuffle.plain(batch.column(self.left_on))
            owners = shuffle.partitions_of(batch, [self.left_on], len(self.right))
            places, sizes = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
            for owner in range(len(self.right)) if len(self.right) == 1 else np.unique(owners).tolist():
                here = owners == owner
                known, rows = _sorted(self.right[owner], self.right_on)
                places[here] = shuffle.find(known, keys[here])
                sizes[here] = shuffle.sizes_of(rows.select(names), places[here])
            for part in shuffle.slices(sizes):
                found = self._found(owners[part], places[part], names)
                piece = batch.slice(part.start, part.stop - part.start)
                for name, column in zip(names, found.columns, strict=True):
                    piece = piece.append_column(pa.field(self.prefix + name, column.type), column.combine_chunks())
                yield piece

    def _found(self, owners: shuffle.I64, places: shuffle.I64, names: list[str]) -> pa.Table:
        """The right rows at places of files; nulls for -1."""
        if len(self.right) == 1:
            order: Any = pa.array(places, mask=places < 0)
            return _sorted(self.right[0], self.right_on)[1].select(names).take(order)
        pieces, where, count = [self.schema.empty_table().select(names)], np.full(len(places), -1, np.int64), 0
        for owner in np.unique(owners).tolist():
            hits = np.flatnonzero((owners == owner) & (places >= 0))
            pieces.append(take(_sorted(self.right[owner], self.right_on)[1].select(names), places[hits]))
            where[hits] = count + np.arange(len(hits))
            count += len(hits)
        order = pa.array(where, mask=where < 0)
        return pa.concat_tables(pieces).take(order)


@lru_cache(maxsize=4096)
def _sorted(path: str, key: str) -> tuple[Any, pa.Table]:
    """The keys and the rows of a sorted file, memory-mapped for as long as the process needs them."""
    with storage_errors("read", path):
        rows = pa.ipc.open_file(pa.memory_map(path)).read_all()
    return shuffle.plain(rows.column(key)), rows


@dataclass(frozen=True)
class _Map:
    """Writes every output of one partition, and tells what its counters say."""

    parts: tuple[Reader, ...]
    function: BatchFunction
    folder: Path

    def __call__(self, rank: int) -> Tally | None:
        tally = Tally() if tells(self.function.outputs.get("counts")) else None
        writers: dict[str, PartWriter] = {}
        try:
            for name, schema in self.function.outputs.items():
                writers[name] = PartWriter(_part(self.folder, name, rank), schema)
            for batch in self.parts[rank]():
                for name, rows in self.function(batch).items():
                    writers[name].write(rows)
                    if tally and name == "counts":
                        tally.add_counts(rows)
            for writer in writers.values():
                writer.finish()
        finally:
            for writer in writers.values():
                writer.abandon()
        return tally


@dataclass(frozen=True)
class _Cut:
    """Cuts one partition by the hash of the key: batch p of its file goes to partition p."""

    data: LocalDataset
    keys: tuple[str, ...]
    count: int
    folder: Path

    def __call__(self, rank: int) -> None:
        rows = pa.Table.from_batches(list(self.data.parts[rank]()), schema=self.data.schema)
        writer = PartWriter(_part(self.folder, "cut", rank), self.data.schema)
        try:
            for piece in shuffle.split(rows, self.keys, self.count):
                writer.write_batch(piece)
            writer.finish()
        finally:
            writer.abandon()


@dataclass(frozen=True)
class _Gather:
    """Brings one piece of every file together and applies the function to its groups."""

    data: LocalDataset
    files: tuple[str, ...]
    keys: tuple[str, ...]
    order: tuple[str, ...]
    function: GroupFunction
    folder: Path
    in_one_batch: bool

    def __call__(self, rank: int) -> None:
        if self.files:
            batches = [_batch(path, rank) for path in self.files]
        else:
            batches = [batch for part in self.data.parts for batch in part()]
        rows = pa.Table.from_batches(batches, schema=self.data.schema)
        groups = shuffle.run_groups(rows, self.keys, self.order, self.function)
        writer = PartWriter(_part(self.folder, "rows", rank), self.function.output)
        try:
            if self.in_one_batch:
                writer.write_batch(pa.concat_tables([self.function.output.empty_table(), *groups]))
            else:
                for found in groups:
                    writer.write(found)
            writer.finish()
        finally:
            writer.abandon()


@dataclass(frozen=True)
class _Same:
    """Leaves groups as they are: sorted by key."""

    output: pa.Schema

    def __call__(self, groups: pa.Table) -> pa.Table:
        return groups


class _Step(PipelineStep):
    """The datatrove step that runs one task."""

    name = "task"
    type = "headwater"

    def __init__(self, task: Callable[[int], Tally | None]) -> None:
        super().__init__()
        self.task = task

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Any:
        """Runs task `rank` and returns what it tells; datatrove's signature."""
        return self.task(rank)


class _Executor(LocalPipelineExecutor):
    """datatrove's executor with its completion marks, on a pool that notices when a worker dies.

    datatrove's own pool waits for ever for the task of a worker that was killed (`multiprocessing.Pool`).
    """

    def __init__(self, stage: str, task: Callable[[int], Tally | None], tasks: int, folder: Path) -> None:
        super().__init__(pipeline=[_Step(task)], tasks=tasks, workers=1, logging_dir=str(folder))
        self.stage = stage

    def run_on(self, workers: Workers) -> None:
        """Runs the tasks that are not complete."""
        ranks = self.get_incomplete_ranks()
        workers.run(self.stage, _run_rank, [(self, rank) for rank in ranks], done=self.tasks - len(ranks))

    def run_rank(self, rank: int) -> Tally | None:
        """One task and its mark; what the task tells.

        In place of datatrove's `_run_for_rank`, which opens a log for each task: 25 ms, where a task may take 2.
        Errors come back as exceptions.
        """
        tally: Tally | None = None
        if not self.is_rank_completed(rank):
            for step in self.pipeline:
                assert isinstance(step, _Step)
                tally = step.run(None, rank, self.world_size)
            self.mark_rank_as_completed(rank)
        return tally


class _Memory:
    """Arrow's memory in a worker, given back to the machine between tasks.

    Arrow's own allocator keeps what a task had for the next one, so that a process holds the most of all of them.
    What is given back has to be fetched again, which takes milliseconds: many small tasks do it once.
    """

    _KEPT = 256_000_000  # bytes that are allocated, and mostly freed, in between

    def __init__(self) -> None:
        self.pool = pa.system_memory_pool()
        self.given_back = 0

    def use(self) -> None:
        pa.set_memory_pool(self.pool)

    def give_back(self) -> None:
        allocated = self.pool.total_bytes_allocated()
        if allocated - self.given_back >= self._KEPT:
            self.pool.release_unused()
            self.given_back = allocated


_MEMORY = _Memory()


def _run_rank(executor: _Executor, rank: int) -> Tally | None:
    _MEMORY.use()
    try:
        return executor.run_rank(rank)
    finally:
        _MEMORY.give_back()


class LocalEngine:
    """Runs pipelines on this machine. A context manager: leaving it ends the worker processes.

    Args:
        folder: Work folder; what it holds is reused, so it belongs to one pipeline and one configuration.
        workers: Processes.
        shuffle_bytes: Rows that one task gathers, about.
    """

    def __init__(self, folder: Path, workers: int = 1, shuffle_bytes: int = SHUFFLE_BYTES) -> None:
        self.folder, self.shuffle_bytes = folder, shuffle_bytes
        self.workers = Workers(workers, "documents.engine.workers")
        self._seen: set[str] = set()
        self._joins = 0

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        self.workers.__exit__(kind)

    def read(self, readers: Sequence[Reader], schema: pa.Schema) -> LocalDataset:
        """One partition a reader."""
        return LocalDataset(schema, tuple(readers))

    def map_batches(self, stage: str, data: LocalDataset, function: BatchFunction) -> Mapping[str, LocalDataset]:
        """Runs unfinished partitions in `workers` processes."""
        folder = self._stage(stage)
        self._run(stage, _Map(data.parts, function, folder), len(data.parts), folder)
        return {
            name: LocalDataset(schema, tuple(ArrowPart(str(_part(folder, name, i))) for i in range(len(data.parts))))
            for name, schema in function.outputs.items()
        }

    def derive(self, data: LocalDataset, function: BatchFunction) -> LocalDataset:
        """Lazy."""
        ((_, schema),) = function.outputs.items()
        return LocalDataset(schema, tuple(DerivedPart(part, function) for part in data.parts))

    def union(self, data: Sequence[LocalDataset]) -> LocalDataset:
        """Lazy."""
        return LocalDataset(data[0].schema, tuple(part for rows in data for part in rows.parts))

    def join(
        self, left: LocalDataset, right: LocalDataset, *, left_on: str, right_on: str, prefix: str = ""
    ) -> LocalDataset:
        """Sorts the right side into files; the left side is looked up where it is used."""
        self._joins += 1
        # One batch a file: it is looked up where it is mapped, without a copy.
        same = _Same(right.schema)
        files = self._grouped(f"join-{self._joins}", right, [right_on], [], same, in_one_batch=True)
        paths = tuple(part.path for part in files.parts if isinstance(part, ArrowPart))
        added = [pa.field(prefix + f.name, f.type) for f in right.schema if f.name != right_on]
        parts = tuple(JoinedPart(part, paths, right.schema, left_on, right_on, prefix) for part in left.parts)
        return LocalDataset(pa.schema([*left.schema, *added]), parts)

    def group_by_key(
        self, stage: str, data: LocalDataset, keys: Sequence[str], order: Sequence[str], function: GroupFunction
    ) -> LocalDataset:
        """Two rounds of tasks; one when the rows are few."""
        return self._grouped(stage, data, keys, order, function)

    def _grouped(
        self, stage: str, data: LocalDataset, keys: Sequence[str], order: Sequence[str], function: GroupFunction,
        *, in_one_batch: bool = False,
    ) -> LocalDataset:  # fmt: skip
        folder = self._stage(stage)
        count = max(1, -(-data.size // self.shuffle_bytes))
        files: tuple[str, ...] = ()
        if count > 1:
            cut = self._stage(f"{stage}-cut")
            self._run(f"{stage} (cut)", _Cut(data, tuple(keys), count, cut), len(data.parts), cut)
            files = tuple(str(_part(cut, "cut", rank)) for rank in range(len(data.parts)))
        gather = _Gather(data, files, tuple(keys), tuple(order), function, folder, in_one_batch)
        self._run(stage, gather, count, folder)
        for file in files:  # their rows are in the gathered files now; the marks of their tasks stay
            Path(file).unlink(missing_ok=True)
        return LocalDataset(function.output, tuple(ArrowPart(str(_part(folder, "rows", p))) for p in range(count)))

    def collect(self, data: LocalDataset) -> pa.Table:
        """All rows, in partition order."""
        return pa.Table.from_batches([batch for part in data.parts for batch in part()], schema=data.schema)

    def _run(self, stage: str, task: Callable[[int], Tally | None], count: int, folder: Path) -> None:
        _Executor(stage, task, count, folder).run_on(self.workers)

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


def _batch(path: str, number: int) -> pa.RecordBatch:
    with storage_errors("read", path), pa.memory_map(path) as source, pa.ipc.open_file(source) as reader:
        return reader.get_batch(number)


def _part(folder: Path, name: str, rank: int) -> Path:
    return folder / f"{name}-{rank:05d}.arrow"
