"""Where a step's time goes: torch's profiler over a few steps, saved as a trace and summed up as a table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from headwater.core.storage import atomic_write, storage_errors

FOLDER = "profile"
SUMMARY = "summary.json"
WARMUP_STEPS = 3
"""Steps before the first that is traced: allocators, caches and compilers have settled by then."""

PREFIX = "step: "
LOADER = PREFIX + "loader"
FORWARD_BACKWARD = PREFIX + "forward and backward"
GRADIENT_NORM = PREFIX + "gradient norm"
UPDATE = PREFIX + "update"
COMMUNICATION = PREFIX + "communication"
GUARD = PREFIX + "guard"
FIGURES = PREFIX + "figures and logs"
CHECKPOINT = PREFIX + "checkpoint"
VALIDATION = PREFIX + "validation"
EVALUATION = PREFIX + "evaluation"
PARTS = (
    LOADER, FORWARD_BACKWARD, GRADIENT_NORM, COMMUNICATION, GUARD, UPDATE, FIGURES, CHECKPOINT, VALIDATION, EVALUATION,
)  # fmt: skip
"""`COMMUNICATION` is that of figures; gradients and weights are reduced and gathered within the passes."""
SHOWN_OPERATORS = 12


class Clock:
    """Seconds that the host spent in the parts of the steps so far. Of parts within one another the inner one counts.

    Attributes:
        seconds: Part, by its name in `PARTS` → seconds.
        steps: Steps that were sent.
        heard: Unix time at which a part last began or ended.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.steps = 0
        self.heard = time.time()
        self._within: list[str] = []
        self._since = time.perf_counter()

    def part(self, name: str) -> _Part:
        """A part of a step, also for the trace."""
        return _Part(self, name)

    def begin(self, name: str) -> None:
        """Begins a part."""
        self._count()
        self._within.append(name)

    def end(self) -> None:
        """Ends the part that began last."""
        self._count()
        self._within.pop()

    def _count(self) -> None:
        now, self.heard = time.perf_counter(), time.time()
        if self._within:
            name = self._within[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


class _Part:
    """A part of a step, as a context: no generator, and no mark for a trace that nobody takes."""

    def __init__(self, clock: Clock, name: str) -> None:
        self._clock, self._name = clock, name
        self._mark: record_function | None = None

    def __enter__(self) -> None:
        self._clock.begin(self._name)
        if torch.autograd._profiler_enabled():
            self._mark = record_function(self._name)
            self._mark.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self._mark is not None:
            self._mark.__exit__(*error)
        self._clock.end()


@contextmanager
def traced(steps: int, folder: Path, tell: Callable[[dict[str, Any]], None]) -> Iterator[Callable[[], None]]:
    """Traces steps of the training inside the block, after `WARMUP_STEPS` others.

    Args:
        steps: How many, or as many as there are; 0 for none.
        folder: Where the traces (`rank0.json.gz`, … for https://ui.perfetto.dev) and the summary go.
        tell: Called on rank 0 with the summary, when the last of these steps is done; not when there was none.

    Yields:
        What is to be called after each step.
    """
    if not steps:
        yield lambda: None
        return

    if dist.get_rank() == 0:
        (folder / SUMMARY).unlink(missing_ok=True)  # of an earlier run of the command

    seen = 0

    def after_step() -> None:
        nonlocal seen
        seen += 1
        profiler.step()

    def finished(profiler: profile) -> None:
        done = min(seen - WARMUP_STEPS, steps)
        if done < 1:
            return
        with storage_errors("write", folder):
            folder.mkdir(parents=True, exist_ok=True)
            profiler.export_chrome_trace(str(folder / f"rank{dist.get_rank()}.json.gz"))
        if dist.get_rank() == 0:
            found = summary(profiler, done)
            atomic_write(folder / SUMMARY, json.dumps(found, indent=1) + "\n")
            tell(found)

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    plan = schedule(wait=0, warmup=WARMUP_STEPS, active=steps, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=finished, acc_events=True) as profiler:
        yield after_step


def summary(profiler: profile, steps: int) -> dict[str, Any]:
    """Seconds a step of the parts of a step, and of the operators that take longest.

    An operator's seconds are its own, without what it calls. On a GPU `device_seconds` are those of its kernels.
    """
    events = profiler.key_averages()
    # One more than the steps, when the training ended among them.
    whole = [event for event in profiler.events() or [] if event.name.startswith("ProfilerStep")][:steps]
    total = sum(event.cpu_time_total for event in whole) / 1e6 / steps
    parts = {event.key: event for event in events if event.key in PARTS}
    own = [event for event in events if event.key not in PARTS and not event.key.startswith("ProfilerStep")]
    own.sort(key=lambda event: event.self_device_time_total or event.self_cpu_time_total, reverse=True)
    return {
        "steps": steps, "step_seconds": total,
        "parts": [
            {"name": name.removeprefix(PREFIX), "seconds": parts[name].cpu_time_total / 1e6 / steps,
             "device_seconds": parts[name].device_time_total / 1e6 / steps}
            for name in PARTS if name in parts
        ],
        "operators": [
            {"name": event.key, "seconds": event.self_cpu_time_total / 1e6 / steps,
             "device_seconds": event.self_device_time_total / 1e6 / steps, "calls": event.count / steps}
            for event in own[:SHOWN_OPERATORS]
        ],
    }  # fmt: skip
