"""The functions that the documents pipeline gives to an engine. Each looks at one batch, or at whole groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from headwater.core.documents import DOCUMENTS, REJECTED
from headwater.data.arrow import column, compute, values
from headwater.data.chain import COUNTS, run_chain
from headwater.data.cuts import cuts_of, earlier_of
from headwater.data.held_out import HeldOut
from headwater.data.operators.apply_cuts import ApplyCuts, CutConfig
from headwater.data.operators.apply_decisions import ApplyDecisions, decisions_of
from headwater.data.operators.base import Operator
from headwater.data.row_keys import row_keys
from headwater.data.rows import ROWS, with_column

SUMS_BY = ["source", "operator", "counter"]


@dataclass(frozen=True)
class Filter:
    """Runs each source's chain.

    Attributes:
        chains: Source → operators.
        ranks: Source → rank among duplicates.
        held_out: Which documents are held out.
    """

    chains: Mapping[str, Sequence[Operator]]
    ranks: Mapping[str, int]
    held_out: HeldOut
    outputs: Mapping[str, pa.Schema] = field(
        default_factory=lambda: {"kept": ROWS, "rejected": REJECTED, "counts": COUNTS}
    )

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `ROWS`; `row` becomes a key of `row_keys`."""
        return joined([self._of_source(source, rows) for source, rows in by_source(batch)])

    def _of_source(self, source: str, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        done = run_chain(self.chains[source], batch)
        keys = row_keys(self.ranks[source], values(done.kept, "id"), values(done.kept, "row"))
        return {
            "kept": pa.Table.from_batches([with_column(done.kept, "row", keys)]),
            "rejected": finished(done.rejected_table(), REJECTED, self.held_out),
            "counts": done.counts_table(source),
        }


@dataclass(frozen=True)
class Edit:
    """Applies what was decided so far, and then cuts spans out of what is left.

    Attributes:
        names: The steps that decided, in order.
        name, config: The step that found the cuts.
        held_out: Which documents are held out.
    """

    names: tuple[str, ...]
    name: str
    config: CutConfig
    held_out: HeldOut
    outputs: Mapping[str, pa.Schema] = field(
        default_factory=lambda: {"kept": ROWS, "rejected": REJECTED, "counts": COUNTS}
    )

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads rows joined with decisions (if any step decided) and with cuts."""
        return joined([self._of_source(source, rows) for source, rows in by_source(batch)])

    def _of_source(self, source: str, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        operators = [*decided(batch, self.names), ApplyCuts(self.name, self.config, cuts_of(batch), earlier_of(batch))]
        done = run_chain(operators, batch.select(ROWS.names))
        return {
            "kept": pa.Table.from_batches([done.kept]),
            "rejected": finished(done.rejected_table(), REJECTED, self.held_out),
            "counts": done.counts_table(source),
        }


@dataclass(frozen=True)
class AddCounts:
    """The sum of each counter."""

    output: pa.Schema = COUNTS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `COUNTS`."""
        sums = groups.group_by(SUMS_BY, use_threads=False).aggregate([("value", "sum")])
        return sums.rename_columns([*SUMS_BY, "value"]).select(COUNTS.names)


@dataclass(frozen=True)
class Settle:
    """Applies what was decided, and lets operators look at what is left.

    Attributes:
        names: The steps that decided since the rows were written, in order.
        operators: What still looks at each document.
        held_out: Which documents are held out.
        kept: Schema of what is left: `ROWS`, which go on, or `DOCUMENTS`.
    """

    names: tuple[str, ...]
    operators: Sequence[Operator]
    held_out: HeldOut
    kept: pa.Schema = DOCUMENTS

    @property
    def outputs(self) -> Mapping[str, pa.Schema]:
        """The schema of each output."""
        return {"kept": self.kept, "rejected": REJECTED, "counts": COUNTS}

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads rows joined with decisions (if any step decided)."""
        return joined([self._of_source(source, rows) for source, rows in by_source(batch)])

    def _of_source(self, source: str, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        done = run_chain([*decided(batch, self.names), *self.operators], batch.select(ROWS.names))
        kept = pa.Table.from_batches([done.kept])
        return {
            "kept": kept if self.kept == ROWS else finished(kept, self.kept, self.held_out),
            "rejected": finished(done.rejected_table(), REJECTED, self.held_out),
            "counts": done.counts_table(source),
        }


def decided(batch: pa.RecordBatch, names: Sequence[str]) -> list[Operator]:
    """What the named steps decided about a batch's rows, as operators."""
    found = decisions_of(batch) if names else {}
    return [ApplyDecisions(name, found) for name in names]


def by_source(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The rows of each source, in their order: operators see one source at a time."""
    sources = column(batch, "source")
    for source in sorted(compute.unique(sources).to_pylist()):
        mine = compute.equal(sources, source)
        yield source, batch if compute.all(mine).as_py() else batch.filter(mine)


def joined(found: Sequence[Mapping[str, pa.Table]]) -> Mapping[str, pa.Table]:
    """Each output of several calls as one table."""
    names = dict.fromkeys(name for each in found for name in each)
    return {name: pa.concat_tables([each[name] for each in found if name in each]) for name in names}


def finished(rows: pa.Table, schema: pa.Schema, held_out: HeldOut) -> pa.Table:
    """Rows with the columns that only documents have: `text_bytes` and `split`."""
    sizes = compute.cast(compute.binary_length(rows.column("text")), pa.int64())
    splits = list(map(held_out.split, values(rows, "id"), values(rows, "url")))
    rows = rows.append_column("text_bytes", sizes).append_column("split", pa.array(splits, pa.string()))
    return rows.select(schema.names).cast(schema)
