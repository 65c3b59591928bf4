"""How each process of a training is, told to rank 0 beside the training: no collective, no wait of a step.

Every few seconds a thread of each process puts a few figures into the store by which the processes met; rank 0 reads
all of them, and logs them. So a process that hangs is seen while all others wait for it: its heartbeat is the oldest.

A rank's own step time leaves out its waiting for the others, for in a synchronous training all steps take the same wall
time. The rank that all wait for has the largest.
"""

from __future__ import annotations

import json
import statistics
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

from headwater.core import metrics as names
from headwater.core.errors import HeadwaterError

EVERY_SECONDS = 10.0
_trainings = count()
"""Several trainings of one process group do not read each other's figures."""


@dataclass(frozen=True)
class State:
    """What a process says of itself.

    Attributes:
        stage: Its pipeline stage: others have other work.
        heartbeat: Unix time at which it last went on.
        memory: Bytes that it takes.
        on_gpu: Whether they are of its GPU.
        step_seconds: Its own time of a step, without waiting for others; none where that is not known.
        utilization: Share of time in which its GPU worked.
        gpu_joules: Energy of its GPU since it began.
        cpu_joules: Energy of its machine's CPUs; of one process a machine.
    """

    stage: int
    heartbeat: float
    memory: float
    on_gpu: bool = False
    step_seconds: float | None = None
    utilization: float | None = None
    gpu_joules: float | None = None
    cpu_joules: float | None = None


def series_of(states: Mapping[int, State]) -> dict[str, float]:
    """The metrics of the ranks, and of all of them together.

    Args:
        states: Rank → what it said last.
    """
    found: dict[str, float] = {}
    for rank, state in sorted(states.items()):
        found[names.TRAIN_RANK_HEARTBEAT.series(rank=str(rank))] = state.heartbeat
        found[names.TRAIN_RANK_MEMORY.series(rank=str(rank))] = state.memory
        if state.step_seconds is not None:
            found[names.TRAIN_RANK_STEP_SECONDS.series(rank=str(rank))] = state.step_seconds
    if (ratio := straggling(states.values())) is not None:
        found[names.TRAIN_SLOWEST_RANK.name] = ratio
    used = [state.utilization for state in states.values() if state.utilization is not None]
    if used:
        found[names.TRAIN_GPU_UTILIZATION.series(of="mean")] = statistics.fmean(used)
        found[names.TRAIN_GPU_UTILIZATION.series(of="lowest")] = min(used)
    for device in ("gpu", "cpu"):
        joules = [each for state in states.values() if (each := getattr(state, f"{device}_joules")) is not None]
        if joules:
            found[names.TRAIN_ENERGY.series(device=device)] = sum(joules)
    if 0 in states and states[0].on_gpu:
        found[names.TRAIN_PEAK_MEMORY.name] = states[0].memory
    return found


def straggling(states: Iterable[State]) -> float | None:
    """The slowest rank's own step time over the median of its pipeline stage, of the stage where that is most.

    None where no stage has two ranks whose time is known.
    """
    stages: dict[int, list[float]] = {}
    for state in states:
        if state.step_seconds:
            stages.setdefault(state.stage, []).append(state.step_seconds)
    # The lower of two: half the way to the slowest would hide it.
    ratios = [max(times) / statistics.median_low(times) for times in stages.values() if len(times) > 1]
    return max(ratios, default=None)


class Ranks:
    """Tells rank 0 how this process is, for as long as the block runs; on rank 0, logs what all of them told.

    Args:
        state: What this process says; called in a thread of its own.
        log: Called on rank 0 with series of `core.metrics`, in that thread.
        store: By which the processes talk; none for a single process.
        rank: Of this process.
        processes: How many there are.
    """

    def __init__(
        self, state: Callable[[], State], log: Callable[[dict[str, float]], None], store: Any, rank: int, processes: int
    ) -> None:
        self._state, self._log, self._rank = state, log, rank
        self._keys = [f"headwater-ranks/{next(_trainings)}/{each}" for each in range(processes)]
        self._store: Any = None if store is None else store.clone()  # a connection of its own: the other may be waiting
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ranks", daemon=True)

    def __enter__(self) -> Ranks:
        """Begins."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Tells a last time, and ends."""
        self._stopped.set()
        self._thread.join(EVERY_SECONDS)  # not for ever: a store that is gone may not say so

    def _run(self) -> None:
        # The store is gone when the process that holds it is: then there is nobody to tell. And a sink that cannot
        # write says so to the training, which logs to it at every step.
        with suppress(RuntimeError, HeadwaterError):
            self._tell()
            while not self._stopped.wait(EVERY_SECONDS):
                self._tell()
            self._tell()

    def _tell(self) -> None:
        state = self._state()
        told = {self._rank: state}
        if self._store is not None:
            self._store.set(self._keys[self._rank], json.dumps(asdict(state)))
            if self._rank == 0:
                told |= self._others()
        if self._rank == 0:
            self._log(series_of(told))

    def _others(self) -> dict[int, State]:
        there = [rank for rank, key in enumerate(self._keys) if rank and self._store.check([key])]
        return {rank: State(**json.loads(self._store.get(self._keys[rank]))) for rank in there}
