"""Worker processes for the local engine and the tokenizer."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from headwater.core.console import progress
from headwater.core.errors import DataError


def workers_for(wanted: int) -> int:
    """The number of processes for a setting in which 0 means one a core."""
    return wanted or len(os.sched_getaffinity(0))


class Workers:
    """A pool that starts when it is first needed, and notices when a process dies.

    Args:
        count: Processes; with 1 the work is done here.
        setting: The recipe's key that sets `count`, for messages.
    """

    def __init__(self, count: int, setting: str) -> None:
        self.count, self.setting = count, setting
        self._pool: ProcessPoolExecutor | None = None
        self._handler: Any = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        if self._handler is not None:
            signal.signal(signal.SIGPIPE, self._handler)
            self._handler = None

    def run(
        self, label: str, function: Callable[..., None], calls: Sequence[tuple[Any, ...]], *, done: int = 0
    ) -> None:
        """Calls a picklable function with each tuple of arguments, and shows progress.

        Args:
            label: What is being done.
            function: What to call.
            calls: Arguments.
            done: Calls that an earlier run has finished, for the display.

        Raises:
            DataError: A process was killed.
        """
        with progress(done + len(calls), label, done=done) as shown:
            if self.count == 1 or len(calls) <= 1:
                for arguments in calls:
                    function(*arguments)
                    shown.advance()
                return
            pool = self.pool()
            futures = [pool.submit(function, *arguments) for arguments in calls]
            try:
                for future in as_completed(futures):
                    future.result()
                    shown.advance()
            except BrokenProcessPool as error:
                raise DataError(
                    f"a worker process of the step {label} was killed",
                    found="a lost process (when memory runs out, the system kills the largest)",
                    hint=f"set {self.setting} lower and run the same command again: finished work is kept",
                ) from error
            finally:
                for future in futures:
                    future.cancel()

    def pool(self) -> ProcessPoolExecutor:
        """The processes. They are spawned from a clean server, because Arrow's threads do not survive a fork."""
        if self._pool is None:
            if threading.current_thread() is threading.main_thread():
                # The command line ends quietly on SIGPIPE; a worker that died must be an error instead.
                self._handler = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            context = get_context("forkserver")
            context.set_forkserver_preload(["headwater.data.documents", "headwater.data.tokenize"])
            self._pool = ProcessPoolExecutor(self.count, mp_context=context)
        return self._pool
