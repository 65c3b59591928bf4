"""Progress and funnels of data jobs as metrics of `core.metrics`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headwater.core import metrics as names
from headwater.core.console import observed
from headwater.core.sinks import served


@contextmanager
def progress_served(
    port: int | None, note: Path | None = None, host: str = "127.0.0.1"
) -> Generator[Callable[[Mapping[str, float]], None]]:
    """Serves the progress of everything in the block for Prometheus.

    Args:
        port: 0 for any free one; none: nothing is served.
        note: A file that says where, meanwhile (see `headwater.core.sinks.served`).
        host: Address to listen on.

    Yields:
        What takes other series of `core.metrics`.
    """
    if port is None:
        yield lambda values: None
        return
    with served(port, note, host) as log:

        def told(step: str, done: float, total: float | None) -> None:
            values = {names.DATA_DONE.series(step=step): done, names.DATA_TIMESTAMP.name: time.time()}
            if total is not None:
                values[names.DATA_PLANNED.series(step=step)] = total
            log(0, values)

        with observed(told):
            yield lambda values: log(0, values)


def funnel_series(funnel: Mapping[str, Any]) -> dict[str, float]:
    """The funnel of a finished job, over all sources: documents into and out of each operator, and why they went.

    Args:
        funnel: From `funnel.build`. Operators and reasons are closed vocabularies.
    """
    found: Counter[str] = Counter()
    for content in funnel["sources"].values():
        for row in content["operators"]:
            step = row["operator"]
            for way in ("in", "out"):
                found[names.DATA_DOCUMENTS.series(step=step, way=way)] += row[f"documents_{way}"]
            for reason, count in row["rejected"].items():
                found[names.DATA_REJECTED.series(step=step, reason=reason)] += count
    return {series: float(count) for series, count in found.items()}
