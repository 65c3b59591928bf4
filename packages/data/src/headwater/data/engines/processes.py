"""Worker processes for the local engine and the tokenizer.

Each process has a pipe of its own and gets one call at a time. No queue and no lock is shared, so a process that is
killed at any moment costs an error, and never a wait without end (as it can with `multiprocessing.Pool`, always, and
with `ProcessPoolExecutor`, when it happens while another process starts).
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from headwater.core.console import progress
from headwater.core.errors import DataError
from headwater.data.engines.tally import Display

ENDING_SECONDS = 30.0
"""How long a process that is told to end has for removing its temporary files."""

Call = tuple[Callable[..., Any], tuple[Any, ...]]


def workers_for(wanted: int) -> int:
    """The number of processes for a setting in which 0 means one a core."""
    return wanted or usable_cores()


def usable_cores(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: what it may run on, and at most what a container's limit comes to.

    Args:
        group: Folder of the process's control group (version 2; Linux, admin-guide/cgroup-v2, `cpu.max`).
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such limit ("max"), or no control groups
        return cores


class Workers:
    """Processes that start when they are first needed. A context manager: leaving it ends them.

    Args:
        count: Processes; with 1 the work is done here.
        setting: The recipe's key that sets `count`, for messages.
    """

    def __init__(self, count: int, setting: str) -> None:
        self.count, self.setting = count, setting
        self._started: dict[Connection, BaseProcess] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        for pipe, process in self._started.items():
            pipe.close()  # a process that waits for a call ends at this
            if kind is not None:
                process.terminate()
        for process in self._started.values():
            process.join(None if kind is None else ENDING_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
        self._started = {}

    def run(self, label: str, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], *, done: int = 0) -> None:
        """Calls a picklable function with each tuple of arguments, and shows progress.

        Args:
            label: What is being done.
            function: What to call. A `Tally` that it returns is shown; anything else that it returns is not.
            calls: Arguments.
            done: Calls that an earlier run has finished, for the display.

        Raises:
            DataError: A process was killed.
            Exception: Whatever a call raised.
        """
        with progress(done + len(calls), label, done=done) as shown:
            display = Display()
            if self.count == 1 or len(calls) <= 1:
                for arguments in calls:
                    shown.advance(note=display.note(function(*arguments)))
                return
            waiting = list(reversed(calls))
            busy: set[Connection] = set()
            for pipe in self.start():
                if waiting:
                    self._send(pipe, (function, waiting.pop()), label)
                    busy.add(pipe)
            while busy:
                for pipe in wait(list(busy)):
                    assert isinstance(pipe, Connection)
                    shown.advance(note=display.note(self._receive(pipe, label)))
                    busy.discard(pipe)
                    if waiting:
                        self._send(pipe, (function, waiting.pop()), label)
                        busy.add(pipe)

    def start(self) -> dict[Connection, BaseProcess]:
        """The processes. They come from a clean server, because Arrow's threads do not survive a fork."""
        if not self._started:
            context = get_context("forkserver")
            context.set_forkserver_preload(["headwater.data.documents", "headwater.data.tokenize"])
            for _ in range(self.count):
                mine, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs,), daemon=True)
                process.start()
                theirs.close()  # so that the end of the process is the end of the pipe
                self._started[mine] = process
        return self._started

    def _send(self, pipe: Connection, call: Call, label: str) -> None:
        try:
            pipe.send(call)
        except OSError as error:
            raise self._lost(label) from error

    def _receive(self, pipe: Connection, label: str) -> Any:
        try:
            raised, result = pipe.recv()
        except (EOFError, OSError) as error:
            raise self._lost(label) from error
        if raised is not None:
            raise raised
        return result

    def _lost(self, label: str) -> DataError:
        return DataError(
            f"a worker process of the step {label} was killed",
            found="a lost process (when memory runs out, the system kills the largest)",
            hint=f"set {self.setting} lower and run the same command again: finished work is kept",
        )


def _serve(pipe: Connection) -> None:
    """Makes the calls that come through the pipe, until its other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process answers Ctrl-C
    signal.signal(signal.SIGTERM, _end)  # an exception, so that what is half-written is removed
    while True:
        raised: Exception | None = None
        result: Any = None
        try:
            function, arguments = pipe.recv()
            try:
                result = function(*arguments)
            except Exception as error:
                raised = _portable(error)
        except (EOFError, OSError):
            return
        except Exception as error:  # the call itself cannot be read here
            raised = _portable(error)
        try:
            pipe.send((raised, result))
        except OSError:
            return


def _end(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what it started is not cut short
    raise SystemExit(128 + number)


def _portable(error: Exception) -> Exception:
    """The error, if it survives the way to the main process; else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 — our own bytes
    except Exception:
        return DataError(f"{type(error).__name__}: {error}")
    return error
