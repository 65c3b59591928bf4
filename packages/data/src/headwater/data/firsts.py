"""The preferred row of each key, on any engine, however many rows have the key.

Some keys are hot: a cookie notice is a line of every page. So each batch sends only the first of its rows of a key on,
with how many rows that one stands for, and what meets in one place is at most one row of a key a batch. What was found
comes back to the rows by a join, whose right side has one row a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from headwater.data.arrow import column, table, take
from headwater.data.engine import Dataset, Engine, Needs
from headwater.data.shuffle import I64, differs, plain, sorted_places

ROWS = pa.field("rows", pa.int64())
"""How many rows a first row stands for."""


def firsts(
    engine: Engine, stage: str, rows: Dataset, schema: pa.Schema, *, earlier: Dataset | None = None, more_than: int = 0
) -> Dataset:
    """The first row of each key.

    Args:
        engine: Where to run.
        stage: The step's name.
        rows: Any rows with the columns of `schema`; they are read once, in batches.
        schema: The key, and after it the columns in whose order the rows of a key stand. What is equal in all of these
            is one.
        earlier: Rows that take part too.
        more_than: Keys of no more rows than this are left out.

    Returns:
        The columns of `schema`, and `rows`.
    """
    heads = engine.derive(rows, Heads(schema))
    if earlier is not None:
        heads = engine.union([heads, engine.derive(earlier, Heads(schema))])
    key, *order = schema.names
    return engine.group_by_key(stage, heads, [key], order, First(schema, more_than))


def with_first(
    engine: Engine, stage: str, rows: Dataset, schema: pa.Schema, *, earlier: Dataset | None = None, more_than: int = 1
) -> Dataset:
    """Each row, with the first row of its key.

    Args:
        engine: Where to run.
        stage: The step's name.
        rows: See `firsts`; they are read twice.
        schema: See `firsts`.
        earlier: See `firsts`; the result does not have these.
        more_than: Rows of keys of no more rows than this have nulls there.

    Returns:
        The rows, with the columns of `firsts` but the key, named `first_…`.
    """
    found = firsts(engine, stage, rows, schema, earlier=earlier, more_than=more_than)
    return engine.join(rows, found, left_on=schema.names[0], right_on=schema.names[0], prefix="first_")


@dataclass(frozen=True)
class Heads:
    """The first row of each key in a batch.

    Attributes:
        schema: See `firsts`.
    """

    schema: pa.Schema
    outputs: Mapping[str, pa.Schema] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", {"heads": pa.schema([*self.schema, ROWS])})

    @property
    def needs(self) -> Needs:
        """The columns of the schema."""
        return Needs(tuple(self.schema.names))

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads the columns of the schema."""
        rows = pa.Table.from_batches([batch.select(self.schema.names)])
        codes = column(batch, self.schema.names[0]).dictionary_encode().indices.to_numpy()
        counts = np.bincount(codes)
        several = counts[codes] > 1
        if not several.any():
            return {"heads": rows.append_column(ROWS, pa.array(counts[codes]))}
        # Few keys occur twice in a batch: only their rows are sorted.
        places = np.flatnonzero(several)
        places = places[sorted_places(take(rows, places), self.schema.names)]
        alone = np.flatnonzero(~several)
        heads = np.concatenate([alone, places[differs(codes[places])]])
        return {"heads": take(rows, heads).append_column(ROWS, pa.array(counts[codes[heads]]))}


@dataclass(frozen=True)
class First:
    """The first row of each key, if enough rows have the key."""

    schema: pa.Schema
    more_than: int
    output: pa.Schema = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", pa.schema([*self.schema, ROWS]))

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads what `Heads` makes, by key and order."""
        places = starts(groups, self.schema.names[0])
        rows = np.add.reduceat(column(groups, ROWS.name).to_numpy(), places) if len(places) else places
        wanted = rows > self.more_than
        found = take(groups.select(self.schema.names), places[wanted])
        return table({**{name: found.column(name) for name in found.column_names}, "rows": rows[wanted]}, self.output)


def starts(groups: pa.Table, key: str) -> I64:
    """Where each group begins, shape [groups]."""
    return np.flatnonzero(differs(plain(groups.column(key))))
