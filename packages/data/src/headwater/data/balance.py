"""Capping types of tasks on any engine: counts of each type → how many stay → which, by the hash in their id.

Ids are hashes, so their first bits cut a type's conversations into even buckets. Only the counts of the buckets come to
the program that drives the job; then one bucket of each type is cut within, and those after it go whole. So what stays
is the first so many of each type in the order of the ids, whatever the engine, and no step holds more than a bucket.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pyarrow as pa

from headwater.data.arrow import table, take, values
from headwater.data.engine import Dataset, Engine, Needs
from headwater.data.operators import task_balance, task_type
from headwater.data.operators.exact_dedup import DECISIONS
from headwater.data.operators.task_balance import TaskBalanceConfig
from headwater.data.row_keys import RANK_BYTES

_BUCKET_BITS = 12
_LABELLED = pa.schema([pa.field("task", pa.string()), pa.field("bucket", pa.int64()), pa.field("id", pa.binary()),
                       pa.field("row", pa.binary())])  # fmt: skip
_COUNTS = pa.schema([pa.field("task", pa.string()), pa.field("bucket", pa.int64()), pa.field("rows", pa.int64())])


@dataclass(frozen=True)
class Cap:
    """What stays of a type: all buckets before one, and the first `left` of that one.

    Attributes:
        bucket: The one that is cut.
        left: Conversations that stay of it.
        kept, of: Of the type, of all its conversations.
    """

    bucket: int
    left: int
    kept: int
    of: int


def over_share(engine: Engine, rows: Dataset, config: TaskBalanceConfig) -> Dataset:
    """Decides which labelled conversations are too many of their type.

    Args:
        engine: Where to run.
        rows: `ROWS`, of which those with a verdict of `task_type` take part.
        config: The limits.

    Returns:
        Rows of `DECISIONS`.

    Raises:
        DataError: The limits leave nothing.
    """
    labelled = engine.derive(rows, Labels())
    counted = engine.group_by_key("balance-counts", engine.derive(labelled, Count()), ["task", "bucket"], [], AddUp())
    cuts = cuts_of(engine.collect(counted), config)
    over = engine.derive(labelled, Over(cuts))
    return engine.group_by_key("balance", over, ["task", "bucket"], ["id", "row"], Trim(cuts))


def cuts_of(counts: pa.Table, config: TaskBalanceConfig) -> dict[str, Cap]:
    """Where each type that has too many is cut.

    Args:
        counts: Conversations of each type and bucket.
        config: The limits.
    """
    tasks, buckets, rows = (values(counts, name) for name in ("task", "bucket", "rows"))
    by_task: dict[str, dict[int, int]] = {}
    for task, bucket, count in zip(tasks, buckets, rows, strict=True):
        by_task.setdefault(task, {})[bucket] = count
    totals = {task: sum(counts.values()) for task, counts in sorted(by_task.items())}
    cuts: dict[str, Cap] = {}
    for task, kept in task_balance.caps(totals, config).items():
        before = 0
        for bucket, count in sorted(by_task[task].items()):
            if before + count > kept:
                cuts[task] = Cap(bucket, kept - before, kept, totals[task])
                break
            before += count
    return cuts


@dataclass(frozen=True)
class Labels:
    """The type of each labelled conversation, and the bucket of its id."""

    needs: ClassVar[Needs] = Needs(("row", "verdicts"))
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"labels": _LABELLED})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `row` and `verdicts`."""
        found: dict[str, list[object]] = {name: [] for name in _LABELLED.names}
        for row, verdicts in zip(values(batch, "row"), values(batch, "verdicts"), strict=True):
            task = next((each["detail"] for each in verdicts if each["operator"] == task_type.NAME), None)
            if task is not None:
                identifier = row[RANK_BYTES:]
                bucket = int.from_bytes(identifier[:2], "big") >> (16 - _BUCKET_BITS)
                for name, value in zip(_LABELLED.names, (task, bucket, identifier, row), strict=True):
                    found[name].append(value)
        return {"labels": table(found, _LABELLED)}


@dataclass(frozen=True)
class Count:
    """The number of conversations of each type and bucket in a batch."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"counts": _COUNTS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `_LABELLED`."""
        rows = pa.Table.from_batches([batch])
        sums = rows.group_by(["task", "bucket"], use_threads=False).aggregate([("row", "count")])
        return {"counts": sums.rename_columns(["task", "bucket", "rows"]).cast(_COUNTS)}


@dataclass(frozen=True)
class AddUp:
    """The sum for each type and bucket."""

    output: pa.Schema = _COUNTS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `_COUNTS`."""
        sums = groups.group_by(["task", "bucket"], use_threads=False).aggregate([("rows", "sum")])
        return sums.rename_columns(["task", "bucket", "rows"]).select(_COUNTS.names)


@dataclass(frozen=True)
class Over:
    """The conversations in buckets that are cut, or come after one that is."""

    cuts: Mapping[str, Cap]
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"labels": _LABELLED})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """Reads `_LABELLED`."""
        places = zip(values(batch, "task"), values(batch, "bucket"), strict=True)
        over = [task in self.cuts and bucket >= self.cuts[task].bucket for task, bucket in places]
        return {"labels": batch.filter(pa.array(over, pa.bool_()))}


@dataclass(frozen=True)
class Trim:
    """All conversations of a bucket after those that stay."""

    cuts: Mapping[str, Cap]
    output: pa.Schema = DECISIONS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads whole buckets of `_LABELLED`, in the order of the ids."""
        tasks, buckets = np.array(values(groups, "task"), object), groups.column("bucket").to_numpy()
        differs = np.flatnonzero((tasks[1:] != tasks[:-1]) | (buckets[1:] != buckets[:-1])) + 1
        gone: list[int] = []
        details: list[str] = []
        for start, end in pairwise([0, *differs.tolist(), len(buckets)]):
            if start == end:
                continue
            task = tasks[start]
            cap = self.cuts[task]
            left = cap.left if buckets[start] == cap.bucket else 0
            gone += range(start + left, end)
            details += [json.dumps({"task": task, "stay": cap.kept, "of": cap.of})] * (end - start - left)
        same = {"operator": [task_balance.NAME] * len(gone), "reason": [task_balance.REASON] * len(gone)}
        rows = take(groups.column("row"), np.array(gone, np.int64))
        return table({"row": rows, **same, "detail": details}, DECISIONS)
