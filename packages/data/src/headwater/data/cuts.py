"""Spans to be cut out of texts, as global steps find them: every kind of cut is a set of byte spans of rows. They are
gathered by row, joined to the rows, and removed there (`operators.apply_cuts`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.data.arrow import column, packed, table, take, values
from headwater.data.shuffle import differs, plain

CUTS = pa.schema([pa.field("row", pa.binary()), pa.field("start", pa.int64()), pa.field("stop", pa.int64())])
"""Bytes [start, stop) of a row's text."""
GATHERED = pa.schema([pa.field("row", pa.binary()), pa.field("cuts", pa.binary())])
"""All cuts of a row: pairs of 64-bit integers, little end first, in order and apart."""


@dataclass(frozen=True)
class Gather:
    """The cuts of each row as one value; cuts that touch become one."""

    output: pa.Schema = GATHERED

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `CUTS` by row, ordered by place."""
        start, stop = (column(groups, name).to_numpy() for name in ("start", "stop"))
        new_row = differs(plain(groups.column("row")))
        # Of all cuts of the row so far, where the last ends: rows are told apart by adding more than any place.
        rows = np.cumsum(new_row) * (int(stop.max(initial=0)) + 1)
        reached = np.maximum.accumulate(stop + rows) - rows
        apart = new_row.copy()
        apart[1:] |= start[1:] > reached[:-1]
        first = np.flatnonzero(apart)
        last = np.append(first[1:], len(start))[: len(first)] - 1
        spans = np.column_stack([start[first], reached[last]])
        cuts = packed(spans, np.append(np.flatnonzero(new_row[first]), len(first)))
        return table({"row": take(groups.column("row"), np.flatnonzero(new_row)), "cuts": cuts}, GATHERED)


def cuts_of(batch: pa.RecordBatch) -> dict[bytes, bytes]:
    """The cuts that were joined to a batch's rows."""
    return {row: cuts for row, cuts in zip(values(batch, "row"), values(batch, "cuts"), strict=True) if cuts}
