"""Stall: no step for too long. A thread watches the clock, for a process that hangs cannot watch itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class StallWatch:
    """Calls `on_stall` once when nothing was heard for too long, and again only after something was.

    Args:
        seconds: How long is too long.
        on_stall: Called, in the watching thread, with the seconds without a sign of life.
        clock: Seconds that only go forward.
    """

    def __init__(
        self, seconds: float, on_stall: Callable[[float], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds, self._on_stall, self._clock = seconds, on_stall, clock
        self._last, self._told = clock(), False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stall watch", daemon=True)

    def __enter__(self) -> StallWatch:
        """Begins to watch."""
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the watching."""
        self._stopped.set()
        self._thread.join()

    def beat(self) -> None:
        """Says that the run is alive."""
        self._last, self._told = self._clock(), False

    def check(self) -> float:
        """Looks once, and calls `on_stall` if it has to; returns the seconds until it is worth looking again."""
        silent = self._clock() - self._last
        if silent < self._seconds:
            return self._seconds - silent
        if not self._told:
            self._told = True
            self._on_stall(silent)
        return self._seconds

    def _run(self) -> None:
        while not self._stopped.wait(self.check()):
            pass
