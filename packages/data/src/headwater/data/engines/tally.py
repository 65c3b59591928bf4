"""What finished tasks did, for the progress display: documents, bytes, and why documents were set aside.

A display and no more: nothing here reaches a file. The counters of the funnel are added up apart from it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from headwater.core.console import size
from headwater.data.arrow import values
from headwater.data.chain import COUNTS

_SHOWN = 3


@dataclass
class Tally:
    """Sums over batches or tasks.

    Attributes:
        documents: Documents that came in.
        bytes: Their bytes (payload or text, whichever the first operator saw).
        reasons: Documents set aside, by reason.
    """

    documents: int = 0
    bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add_counts(self, counts: pa.Table | pa.RecordBatch) -> None:
        """Adds the counters of one batch, rows of `COUNTS`.

        The first operator of a source's chain sees every document, and no later one sees more: so the largest count
        of each source is what came in.
        """
        came_in: dict[tuple[str, str], int] = {}
        columns = (values(counts, name) for name in ("source", "counter", "value"))
        for source, counter, value in zip(*columns, strict=True):
            kind, _, reason = counter.partition(":")
            if kind in ("docs_in", "bytes_in"):
                came_in[source, kind] = max(came_in.get((source, kind), 0), value)
            elif kind == "reject":
                self.reasons[reason] += value
        self.documents += sum(value for (_, kind), value in came_in.items() if kind == "docs_in")
        self.bytes += sum(value for (_, kind), value in came_in.items() if kind == "bytes_in")

    def add(self, other: Tally) -> None:
        """Adds what another task did."""
        self.documents += other.documents
        self.bytes += other.bytes
        self.reasons.update(other.reasons)

    def line(self, seconds: float) -> str:
        """The sums as a short text; `seconds` is how long they took together."""
        if not self.documents or seconds <= 0:
            return ""
        gone = self.reasons.total()
        rejects = ", ".join(f"{reason} {count:,}" for reason, count in ranked(self.reasons)[:_SHOWN])
        more = ", …" if len(self.reasons) > _SHOWN else ""
        rate = self.documents / seconds
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        speed = f"{shown} documents/s · {size(self.bytes / seconds)}/s"
        return f"{speed} · {gone / self.documents:.0%} set aside" + (f": {rejects}{more}" if gone else "")


class Display:
    """The note beside a progress bar, from the tallies of finished tasks.

    Args:
        clock: Seconds since any moment.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began, self._sum = clock, clock(), Tally()

    def note(self, result: object) -> str | None:
        """The note after one more task; None when tasks tell nothing."""
        if not isinstance(result, Tally):
            return None
        self._sum.add(result)
        return self._sum.line(self._clock() - self._began)


def tells(schema: pa.Schema | None) -> bool:
    """Whether an output holds counters."""
    return schema is not None and schema.equals(COUNTS)


def ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """The most frequent first; equal ones by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
