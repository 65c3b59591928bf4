"""Progress of data jobs as metrics of `core.metrics`."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from headwater.core import metrics as names
from headwater.core.console import observed
from headwater.core.sinks import served


@contextmanager
def progress_served(port: int | None, note: Path | None = None) -> Generator[None]:
    """Serves the progress of everything in the block for Prometheus.

    Args:
        port: On loopback, 0 for any free one; none: nothing is served.
        note: A file that says where, meanwhile (see `headwater.core.sinks.served`).
    """
    if port is None:
        yield
        return
    with served(port, note) as log:

        def told(step: str, done: float, total: float | None) -> None:
            values = {names.DATA_DONE.series(step=step): done, names.DATA_TIMESTAMP.name: time.time()}
            if total is not None:
                values[names.DATA_PLANNED.series(step=step)] = total
            log(0, values)

        with observed(told):
            yield
