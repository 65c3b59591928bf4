"""A source's chain of operators over one batch: verdicts written, rejected rows set aside, counters for the funnel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.data.arrow import compute
from headwater.data.operators.base import REJECT, Operator
from headwater.data.rows import REJECTED_ROWS, Verdict, append_verdicts

COUNTS = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("operator", pa.string(), nullable=False),
        pa.field("counter", pa.string(), nullable=False),
        pa.field("value", pa.int64(), nullable=False),
    ]
)
"""Counters as rows: the funnel is their sum, whatever the engine and the partitions."""

_COMPACT_BELOW = 0.75  # operators that change nothing may see dead rows, so that they share one word split


@dataclass
class ChainResult:
    """What a chain did with a batch."""

    kept: pa.RecordBatch
    rejected: list[pa.Table] = field(default_factory=list)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def rejected_table(self) -> pa.Table:
        """All rejected rows, in the columns of `REJECTED_ROWS`."""
        return pa.concat_tables(self.rejected) if self.rejected else REJECTED_ROWS.empty_table()

    def counts_table(self, source: str) -> pa.Table:
        """The counters as rows."""
        rows = [
            {"source": source, "operator": o, "counter": c, "value": v} for (o, c), v in sorted(self.counts.items())
        ]
        return pa.Table.from_pylist(rows, schema=COUNTS)


def run_chain(operators: Sequence[Operator], batch: pa.RecordBatch) -> ChainResult:
    """Runs operators one after the other over a batch of one source.

    A row's verdicts name every operator that saw it, up to the one that rejected it.
    """
    alive = np.ones(batch.num_rows, dtype=np.bool_)
    histories: list[list[Verdict]] = [[] for _ in range(batch.num_rows)]
    result = ChainResult(batch)
    for operator in operators:
        live_only = operator.changes or operator.live_only
        if not alive.all() and (live_only or alive.mean() < _COMPACT_BELOW):
            batch, histories, alive = _compact(batch, histories, alive)
        if not batch.num_rows:
            break
        _count_docs(result, operator.name, "in", batch, alive)
        verdicts = operator.process(batch)
        batch = verdicts.batch
        for row in np.flatnonzero(alive).tolist():
            histories[row].append((operator.name, verdicts.outcomes[row], verdicts.reasons[row], verdicts.details[row]))
            if verdicts.reasons[row]:
                _add(result, operator.name, f"{verdicts.outcomes[row]}:{verdicts.reasons[row]}", 1)
        for name, value in verdicts.counters.items():
            _add(result, operator.name, f"count:{name}", value)
        gone = alive & np.array([outcome == REJECT for outcome in verdicts.outcomes], dtype=np.bool_)
        if gone.any():
            result.rejected.append(set_aside(batch, histories, gone))
        alive &= ~gone
        _count_docs(result, operator.name, "out", batch, alive)
    batch, histories, _ = _compact(batch, histories, alive)
    result.kept = append_verdicts(batch, histories)
    return result


def set_aside(batch: pa.RecordBatch, histories: Sequence[Sequence[Verdict]], gone: npt.NDArray[np.bool_]) -> pa.Table:
    """The rows where `gone` holds, as `REJECTED_ROWS`; the last verdict of each says why."""
    places = np.flatnonzero(gone).tolist()
    mine = [histories[place] for place in places]
    rows = append_verdicts(batch.filter(pa.array(gone)), mine)
    for column, part in (("operator", 0), ("reason", 2), ("detail", 3)):
        values = pa.array([history[-1][part] for history in mine], pa.string())
        rows = rows.append_column(pa.field(column, pa.string(), nullable=False), values)
    return pa.Table.from_batches([rows]).select(REJECTED_ROWS.names).cast(REJECTED_ROWS)


def _compact(
    batch: pa.RecordBatch, histories: list[list[Verdict]], alive: npt.NDArray[np.bool_]
) -> tuple[pa.RecordBatch, list[list[Verdict]], npt.NDArray[np.bool_]]:
    if alive.all():
        return batch, histories, alive
    left = [history for history, lives in zip(histories, alive.tolist(), strict=True) if lives]
    return batch.filter(pa.array(alive)), left, np.ones(len(left), dtype=np.bool_)


def _count_docs(
    result: ChainResult, operator: str, way: str, batch: pa.RecordBatch, alive: npt.NDArray[np.bool_]
) -> None:
    text, payload = (
        compute.binary_length(batch.column(name)).to_numpy(zero_copy_only=False) for name in ("text", "payload")
    )
    _add(result, operator, f"docs_{way}", int(alive.sum()))
    _add(result, operator, f"bytes_{way}", int((np.where(text > 0, text, payload))[alive].sum()))


def _add(result: ChainResult, operator: str, counter: str, value: int) -> None:
    key = (operator, counter)
    result.counts[key] = result.counts.get(key, 0) + value
