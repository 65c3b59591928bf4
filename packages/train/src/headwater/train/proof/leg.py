"""One leg of a trial: the processes of a training from where it stands, until it ends or is killed."""

from __future__ import annotations

import multiprocessing as mp
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from headwater.core.errors import TrainError
from headwater.train.parity.layouts import Layout

POLL_SECONDS = 0.001
_CONTEXT = mp.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["headwater.train.proof.warm"])


@dataclass(frozen=True)
class Job:
    """What a leg trains: a recipe in a run folder on a layout, and where its processes may talk to people."""

    recipe: Path
    run: Path
    layout: Layout
    log: Path

    @property
    def overrides(self) -> list[str]:
        """Dotted overrides of the recipe; a pipeline needs micro-batches to fill it."""
        return [*self.layout.overrides, *(["train.micro_batch=2"] if "pp" in self.layout.parallel else [])]


class Leg:
    """A leg that has been started.

    Args:
        job: What it trains.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        count = job.layout.processes
        port = _free_port() if count > 1 else 0
        self.began = time.monotonic()
        self._processes = [
            _CONTEXT.Process(target=_train, args=(job, rank, count, port), daemon=True) for rank in range(count)
        ]
        for process in self._processes:
            process.start()

    def run_until(self, reached: Callable[[], bool]) -> bool:
        """Waits until something is so; false when the leg ended before."""
        sentinels = [process.sentinel for process in self._processes]
        while not reached():
            if len(wait(sentinels, timeout=POLL_SECONDS)) == len(sentinels) or self._failed():
                return False
        return True

    def kill(self) -> None:
        """Kills every process with SIGKILL, as a machine that goes away does."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()

    def finish(self) -> float:
        """Waits until it has ended.

        Returns:
            Seconds that it took.

        Raises:
            TrainError: A process failed, with the end of what it said.
        """
        while not self._failed() and any(process.exitcode is None for process in self._processes):
            wait([process.sentinel for process in self._processes if process.exitcode is None], timeout=0.1)
        seconds = time.monotonic() - self.began
        codes = [process.exitcode for process in self._processes]
        self.kill()
        if any(codes):
            said = "\n".join(self.job.log.read_text(errors="replace").splitlines()[-15:])
            raise TrainError(
                f"a training of the proof failed on the layout {self.job.layout.name}", found=f"exit codes {codes}",
                expected="0 of every process", hint=f"the end of {self.job.log}:\n{said}",
            )  # fmt: skip
        return seconds

    def _failed(self) -> bool:
        return any(process.exitcode not in (None, 0) for process in self._processes)


def run_apart(action: Callable[..., None], *arguments: object) -> None:
    """Runs a function in a process of its own that has everything imported already.

    Raises:
        TrainError: It failed.
    """
    process = _CONTEXT.Process(target=action, args=arguments, daemon=True)
    process.start()
    process.join()
    if process.exitcode:
        raise TrainError("the data of the proof could not be made", found=f"exit code {process.exitcode}", expected="0")


def _train(job: Job, rank: int, count: int, port: int) -> None:
    """In a process of its own: what `headwater train run` does."""
    descriptor = os.open(job.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if count > 1:
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }  # fmt: skip
    from headwater.train.runner import train

    try:
        train(job.recipe, job.run, job.overrides)
    except BaseException:
        traceback.print_exc()
        _leave(1)
    _leave(0)


def _leave(code: int) -> None:
    # Without the interpreter's last rites: what the server imported belongs to the server.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def layouts_of(names: Sequence[str], known: dict[str, Layout]) -> list[Layout]:
    """Layouts by their names.

    Raises:
        ConfigError: There is no such layout, or it needs a mixture of experts.
    """
    from headwater.core.config import nearest
    from headwater.core.errors import ConfigError

    fitting = {name: layout for name, layout in known.items() if not layout.experts}
    for name in names:
        if name not in fitting:
            near = nearest(name, fitting)
            raise ConfigError(
                f"there is no layout {name} for a dense model", expected=f"one of: {', '.join(fitting)}",
                hint=f"did you mean {near}?" if near else "run: headwater train resume-proof --help",
            )  # fmt: skip
    return [fitting[name] for name in names]
