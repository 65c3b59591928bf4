"""What a process of a training says of itself (`train.ranks`), measured beside the training."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import torch

from headwater.train.energy import CpuMeter, GpuMeter
from headwater.train.ranks import State
from headwater.train.titan.profile import Clock

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Vitals:
    """Figures of this process. Made by the thread that trains; read by another.

    Args:
        clock: The trainer's.
        slept: Seconds so far in which the training thread waited for data.
        device: On which it trains.
        stage: Its pipeline stage.
        first: Whether it is the first process of its machine.
    """

    def __init__(
        self, clock: Clock, slept: Callable[[], float], device: torch.device, stage: int, *, first: bool
    ) -> None:  # fmt: skip
        self._clock, self._slept, self._stage = clock, slept, stage
        self._device = device if device.type == "cuda" else None
        self._schedule = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._own, self._steps = self._own_seconds(), 0
        self._latest: float | None = None
        self._gpu = GpuMeter(None if self._device is None else str(torch.cuda.get_device_properties(device).uuid))
        self._cpu = CpuMeter() if first else None

    def state(self) -> State:
        """The figures, of the time since the last call where they are of a time."""
        return State(
            stage=self._stage, heartbeat=self._clock.heard, memory=self._memory(),
            on_gpu=self._device is not None, step_seconds=self._step_seconds(), utilization=self._gpu.utilization(),
            gpu_joules=self._gpu.joules(), cpu_joules=self._cpu.joules() if self._cpu else None,
        )  # fmt: skip

    def _memory(self) -> float:
        """Most that tensors took on the GPU since the last call; without one, resident host memory."""
        if self._device is None:
            try:
                return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
            except OSError:  # not Linux: the most that there was
                return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak = torch.cuda.max_memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        return peak

    def _step_seconds(self) -> float | None:
        """Of the steps since the last call, or the latest there were."""
        own, steps = self._own_seconds(), self._clock.steps
        if own is not None and self._own is not None and steps > self._steps:
            self._latest = (own - self._own) / (steps - self._steps)
            self._own, self._steps = own, steps
        return self._latest

    def _own_seconds(self) -> float | None:
        """Seconds in which the training thread ran, or could have run had there been a free CPU, or waited for data.

        On a GPU the host does not wait for the other ranks, its device does, and that does not tell.
        """
        if self._device is not None:
            return None
        try:
            running, waiting, _ = self._schedule.read_text().split()
        except (OSError, ValueError):  # not Linux
            return None
        return (int(running) + int(waiting)) / 1e9 + self._slept()
