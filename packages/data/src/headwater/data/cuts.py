"""Spans to be cut out of texts, as global steps find them: every kind of cut is a set of byte spans of rows. They are
gathered by row, joined to the rows, and removed there (`operators.apply_cuts`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.data.arrow import column, packed, table, take, values
from headwater.data.earlier import Earlier
from headwater.data.row_keys import id_of
from headwater.data.shuffle import I64, differs, plain

CUTS = pa.schema([pa.field("row", pa.binary()), pa.field("start", pa.int64()), pa.field("stop", pa.int64())])
"""Bytes [start, stop) of a row's text."""
REPEATS = pa.schema([*CUTS, pa.field("kept", pa.binary())])
"""Cuts of what an earlier document (`Earlier`) has already, by its row; null for what only the pipeline's own have."""
GATHERED = pa.schema([pa.field("row", pa.binary()), pa.field("cuts", pa.binary()), pa.field("earlier", pa.string())])
"""All cuts of a row: pairs of 64-bit integers, little end first, in order and apart. `earlier` is null, or JSON: for
each index, how many of the spans it has, and in which documents."""


@dataclass(frozen=True)
class Gather:
    """The cuts of each row as one value; cuts that touch become one.

    Attributes:
        earlier: The indexes that cuts may name.
    """

    earlier: Earlier = field(default_factory=Earlier)
    output: pa.Schema = GATHERED

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `CUTS` or `REPEATS` by row, ordered by place."""
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
        rows = take(groups.column("row"), np.flatnonzero(new_row))
        known: Any = pa.nulls(len(rows), pa.string())
        if self.earlier.names:
            known = pa.array(
                self._known(groups, np.cumsum(new_row) - 1, np.cumsum(apart, dtype=np.int64), len(rows)), pa.string()
            )
        return table({"row": rows, "cuts": cuts, "earlier": known}, GATHERED)

    def _known(self, groups: pa.Table, rows: I64, spans: I64, count: int) -> list[str | None]:
        """What each row's cuts say about earlier documents.

        Args:
            groups: The cuts.
            rows: The number of each cut's row.
            spans: The number of the span that each cut is part of.
            count: Rows.
        """
        found: dict[int, dict[str, tuple[set[int], set[str]]]] = {}
        places = np.flatnonzero(column(groups, "kept").is_valid().to_numpy())
        for place, kept in zip(places.tolist(), take(groups.column("kept"), places).to_pylist(), strict=True):
            of_row = found.setdefault(int(rows[place]), {})
            in_spans, documents = of_row.setdefault(self.earlier.origin(kept)["earlier"], (set(), set()))
            in_spans.add(int(spans[place]))
            documents.add(id_of(kept))
        told = {row: json.dumps({name: {"spans": len(in_spans), "documents": sorted(documents)}
                                 for name, (in_spans, documents) in sorted(names.items())})
                for row, names in found.items()}  # fmt: skip
        return [told.get(row) for row in range(count)]


def cuts_of(batch: pa.RecordBatch) -> dict[bytes, bytes]:
    """The cuts that were joined to a batch's rows."""
    return {row: cuts for row, cuts in zip(values(batch, "row"), values(batch, "cuts"), strict=True) if cuts}


def earlier_of(batch: pa.RecordBatch) -> dict[bytes, str]:
    """What those cuts say about earlier documents."""
    return {row: told for row, told in zip(values(batch, "row"), values(batch, "earlier"), strict=True) if told}
