"""Groups of processes on this machine that train, or do something else with torch.distributed, and are watched.

On a CPU they are forked from a server that has torch and torchtitan imported: importing them takes ten times as long
as a short training does. On a GPU they are started afresh, because CUDA does not survive a fork.
"""

from __future__ import annotations

import faulthandler
import multiprocessing as mp
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path

from headwater.core.ports import free_port

POLL_SECONDS = 0.001
SHOWN_LINES = 12
_FORKED = mp.get_context("forkserver")
_FORKED.set_forkserver_preload(["headwater.train.warm"])
_AFRESH = mp.get_context("spawn")


class Processes:
    """A group that has been started: each of its processes runs the same function, as one of torchrun's workers would.

    It ends with the process that started it, whatever ends that. As a context manager it is over at the end.

    Args:
        count: How many processes.
        log: Where what they say is appended.
        action: A function of a module.
        arguments: What it is called with; they are pickled.
        device: "cpu" or "cuda".
    """

    def __init__(
        self, count: int, log: Path, action: Callable[..., object], *arguments: object, device: str = "cpu"
    ) -> None:
        port = free_port() if count > 1 else 0
        context = _AFRESH if device == "cuda" else _FORKED
        self.began = time.monotonic()
        self._log = log
        self._processes = [
            context.Process(target=_work, args=(log, rank, count, port, action, arguments), daemon=True)
            for rank in range(count)
        ]
        for process in self._processes:
            process.start()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def run_until(self, reached: Callable[[], bool]) -> bool:
        """Waits until something is so; false when the group ended before, or one of its processes failed."""
        sentinels = [process.sentinel for process in self._processes]
        while not reached():
            if len(wait(sentinels, timeout=POLL_SECONDS)) == len(sentinels) or self._failed():
                return False
        return True

    def finish(self, timeout: float | None = None) -> list[int | None]:
        """Waits until all have ended or one has failed, which ends the others.

        Args:
            timeout: Seconds after which it is ended; none for no limit.

        Returns:
            The exit code of each process: 0 for one that did what it should, none for what had to be ended.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self._failed() and (left := [each.sentinel for each in self._processes if each.exitcode is None]):
            if not wait(left, timeout=None if until is None else max(0.0, until - time.monotonic())):
                break
        codes = [process.exitcode for process in self._processes]
        self.kill()
        return codes

    def kill(self) -> None:
        """Kills every process with SIGKILL, as a machine that goes away does."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()

    def last_words(self) -> str:
        """The end of what the processes said; of a crash in native code its beginning, which names the signal."""
        text = self._log.read_text(errors="replace") if self._log.is_file() else ""
        lines = [line for line in text.splitlines() if line.strip()]
        for at, line in enumerate(lines):
            if line.startswith("Fatal Python error"):  # the innermost call comes first
                return "\n".join(lines[at : at + SHOWN_LINES])
        return "\n".join(lines[-SHOWN_LINES:])

    def _failed(self) -> bool:
        return any(process.exitcode not in (None, 0) for process in self._processes)


def _work(
    log: Path, rank: int, count: int, port: int, action: Callable[..., object], arguments: tuple[object, ...]
) -> None:  # fmt: skip
    """In a process of its own."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    faulthandler.enable()
    if count > 1:
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }  # fmt: skip
    try:
        action(*arguments)
    except BaseException:
        traceback.print_exc()
        _leave(1)
    _leave(0)


def _end_with_parent() -> None:
    # The server outlives a parent that is killed for as long as there are processes of it: the kernel's signal for
    # a parent's end would come from the wrong one.
    parent = mp.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _leave(code: int) -> None:
    # Without the interpreter's last rites: what the server imported belongs to the server.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
