"""From sorted batches to whole groups: batches end anywhere, groups do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from headwater.data.arrow import compute

ROWS_AT_ONCE = 4_096
"""Groups are handed over when they have so many rows together; one group may have any number."""


def whole_groups(
    batches: Iterator[pa.RecordBatch], keys: Sequence[str], rows_at_once: int = ROWS_AT_ONCE
) -> Iterator[pa.Table]:
    """Tables of one or more whole groups.

    Args:
        batches: Sorted by `keys`, none empty.
        keys: Columns without nulls.
        rows_at_once: Least rows of a table but the last.
    """
    waiting: list[pa.RecordBatch] = []  # whole groups, then the beginning of one
    rows, whole = 0, 0  # in `waiting`; of them in whole groups
    for batch in batches:
        start = _last_start(waiting[-1] if waiting else None, batch, keys)
        if start is not None:
            whole = rows + start
        waiting.append(batch)
        rows += batch.num_rows
        if whole >= rows_at_once:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, whole).combine_chunks()
            waiting = table.slice(whole).combine_chunks().to_batches()
            rows, whole = rows - whole, 0
    if waiting:
        yield pa.Table.from_batches(waiting).combine_chunks()


def _last_start(before: pa.RecordBatch | None, batch: pa.RecordBatch, keys: Sequence[str]) -> int | None:
    """The row at which the last group of a batch begins, or None when it began before this batch."""
    count = batch.num_rows
    fresh = np.zeros(count, np.bool_)
    for name in keys:
        column = batch.column(name)
        if count > 1:
            fresh[1:] |= compute.not_equal(column.slice(1), column.slice(0, count - 1)).to_numpy(zero_copy_only=False)
        if before is not None:
            fresh[0] |= before.column(name)[-1].as_py() != column[0].as_py()
    places = np.flatnonzero(fresh)
    return int(places[-1]) if len(places) else None
