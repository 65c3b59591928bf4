"""torchtitan's metrics processor, feeding the sinks of `core.sinks` under the names of `core.metrics`."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchtitan.components.metrics import BaseLogger, MetricsProcessor

from headwater.core import metrics as names
from headwater.core.errors import HeadwaterError
from headwater.core.sinks import MetricSink
from headwater.train.config import TrainConfig
from headwater.train.titan.profile import PREFIX
from headwater.train.titan.readback import Figures
from headwater.train.titan.updates import GROUPS

_EVERY_SECONDS = 10.0
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CGROUP = Path("/sys/fs/cgroup")


def host_memory() -> tuple[int, int]:
    """Bytes of host memory in use, and that there are: of the process's container where it has a limit, else of the
    machine.

    What the kernel can give back at once (file pages that nobody uses) does not count as used.
    """
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        stats = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return int((_CGROUP / "memory.current").read_text()) - int(stats["inactive_file"]), limit
    except (OSError, ValueError, KeyError):  # no limit, or another system
        pages = os.sysconf("SC_PHYS_PAGES")
    try:
        rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return pages * _PAGE - int(rows["MemAvailable"].split()[0]) * 1024, pages * _PAGE
    except (OSError, ValueError, KeyError):
        return (pages - os.sysconf("SC_AVPHYS_PAGES")) * _PAGE, pages * _PAGE


class Window:
    """The highest of the values of the last seconds: what a scrape of a gauge in between would miss."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._falling: deque[tuple[float, float]] = deque()  # time and value; of two, the later one is the lower

    def highest(self, value: float, now: float) -> float:
        """Takes a value; NaN is higher than any."""
        rank = math.inf if math.isnan(value) else value
        while self._falling and self._falling[-1][1] <= rank:
            self._falling.pop()
        self._falling.append((now, rank))
        while self._falling[0][0] < now - self._seconds:
            self._falling.popleft()
        return self._falling[0][1]


class SinkLogger(BaseLogger):
    """A torchtitan logger over Headwater's sinks."""

    def __init__(self, sinks: list[MetricSink]) -> None:
        self.sinks = sinks

        self._lock = threading.Lock()  # the stall watch logs from a thread of its own

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Hands values named as in `core.metrics` to every sink."""
        with self._lock:
            for sink in self.sinks:
                sink.log(step, metrics)

    def rewind(self, step: int) -> None:
        """Tells the sinks that the steps after `step` are undone."""
        with self._lock:
            for sink in self.sinks:
                sink.rewind(step)

    def close_sinks(self) -> None:
        """Closes them where the process ends without the caller, whose they are."""
        for sink in self.sinks:
            with suppress(HeadwaterError):
                sink.close()


class HeadwaterMetrics(MetricsProcessor):
    """Step metrics, validation and checkpoints, under the one table's names. The sinks belong to the caller."""

    @dataclass(kw_only=True, slots=True)
    class Config(MetricsProcessor.Config):
        """As the base, and the objects of the run that are no configuration (leading underscore)."""

        _sinks: Any = None

    logger: SinkLogger  # pyright: ignore[reportIncompatibleVariableOverride]
    _step_seconds: dict[int, float]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._step_seconds = {}
        self._clipped_steps = 0
        self._told_at = -math.inf
        self._window = Window()
        self._last = 0

    def _build_metric_logger(self, *, config: Config, **_: Any) -> BaseLogger:  # type: ignore[override]
        return SinkLogger(config._sinks or [])

    def start_step(self, step: int) -> None:
        """Starts the clock of a step."""
        self._clocked, self._step_began = step, time.perf_counter()

    def end_step(self) -> None:
        """Stops it: the step was sent, and there is nothing more to wait for. Its figures come with the next one."""
        self._step_seconds[self._clocked] = time.perf_counter() - self._step_began

    def rewind(self, step: int) -> None:
        """Tells the sinks that the steps after `step` are undone."""
        self._step_seconds.clear()
        self._window, self._last = Window(), step
        self.logger.rewind(step)

    def log_step(
        self, figures: Figures, *, tokens: int, samples: int, step_tokens: int, clipped: bool,
        phases: Mapping[str, float], sources: Callable[[], dict[str, float]],
    ) -> float:  # fmt: skip
        """Logs a finished step.

        Args:
            figures: What the device found.
            tokens: Trained on so far.
            samples: Consumed so far.
            step_tokens: Tokens of this step, all ranks together.
            clipped: Whether the gradient was clipped.
            phases: Seconds in the parts of the steps so far (see `titan.profile`).
            sources: The series of the sources since it was last called.

        Returns:
            Tokens a second.
        """
        now, step = time.perf_counter(), figures.sent.step
        self._last = step
        seconds = self._step_seconds.pop(step, now - self._step_began)
        self._clipped_steps += clipped
        ratios = {
            names.TRAIN_UPDATE_RATIO.series(group=group): ratio
            for group, ratio in zip(GROUPS, figures.update_ratios, strict=False)
            if not math.isnan(ratio)
        }
        on_gpu = self._utilization(step_tokens / seconds) if torch.cuda.is_initialized() else {}
        self.logger.log(
            {
                names.TRAIN_STEP.name: step,
                names.TRAIN_LOSS.name: figures.loss,
                names.TRAIN_LOSS_RANK_MAX.name: figures.rank_loss,
                names.TRAIN_LOSS_WINDOW_MAX.name: self._window.highest(figures.loss, now),
                names.TRAIN_GRAD_NORM.name: figures.grad_norm,
                names.TRAIN_LEARNING_RATE.name: figures.sent.learning_rate,
                names.TRAIN_TOKENS.name: tokens,
                names.TRAIN_SAMPLES.name: samples,
                names.TRAIN_THROUGHPUT.name: step_tokens / seconds,
                names.TRAIN_STEP_SECONDS.name: seconds,
                names.TRAIN_STEP_TIMESTAMP.name: time.time(),
                names.TRAIN_CLIPPED_STEPS.name: self._clipped_steps,
                **ratios,
                **on_gpu,
                **self._now_and_then(phases, sources, now),
            },
            step,
        )
        self.ntokens_since_last_log = 0
        self.data_loading_times.clear()
        return step_tokens / seconds

    def log_start(
        self, step: int, *, plan: TrainConfig, restarts: int, saved_at: float | None, counts: Mapping[str, float]
    ) -> None:
        """Logs what is known before anything else is: what Prometheus sees first are no zeros that are none.

        Args:
            step: The one that was done before, 0 for a new run.
            plan: The `train` section.
            restarts: Times that the run went on from a checkpoint, this one among them.
            saved_at: Unix time of the checkpoint that the run goes on from; none for a new run.
            counts: The guard's running totals.
        """
        now, self._last, samples = time.time(), step, plan.step_samples.consumed(step)
        values = {
            names.TRAIN_STEP.name: float(step),
            names.TRAIN_STEPS_PLANNED.name: float(plan.steps),
            names.TRAIN_STEP_TIMESTAMP.name: now,
            names.TRAIN_ENDED.name: 0.0,
            names.TRAIN_HALTED.name: 0.0,
            names.TRAIN_TOKENS.name: float(samples * plan.seq_len),
            names.TRAIN_SAMPLES.name: float(samples),
            names.TRAIN_RESTARTS.name: float(restarts),
            names.TRAIN_CHECKPOINT_TIMESTAMP.name: now if saved_at is None else saved_at,
            names.TRAIN_MEMORY_LIMIT.name: float(host_memory()[1]),
            **counts,
        }
        if torch.cuda.is_available():
            values[names.TRAIN_DEVICE_MEMORY_LIMIT.name] = float(torch.cuda.get_device_properties().total_memory)
        self.logger.log(values, step)

    def _now_and_then(
        self, phases: Mapping[str, float], sources: Callable[[], dict[str, float]], now: float
    ) -> dict[str, float]:
        """What need not be in every row, where steps are short."""
        if now - self._told_at < _EVERY_SECONDS:
            return {}
        self._told_at = now
        parts = {
            names.TRAIN_PHASE_SECONDS.series(phase=part.removeprefix(PREFIX).replace(" ", "_")): seconds
            for part, seconds in phases.items()
        }
        return parts | sources() | {names.TRAIN_HOST_MEMORY.name: float(host_memory()[0])}

    def _utilization(self, speed: float) -> dict[str, float]:
        """FLOPs as a share of the peak (Chowdhery et al., 2022, appendix B), which float8 has none of."""
        if self.has_quantization:
            return {}
        share = speed / self.parallel_dims.world_size * self.num_flops_per_token / self.gpu_peak_flops
        return {names.TRAIN_MFU.name: share}

    def log_values(self, step: int, values: Mapping[str, float]) -> None:
        """Logs any values of the table."""
        self.logger.log(dict(values), step)

    def log_beside(self, values: Mapping[str, float]) -> None:
        """Logs values that are of no step, with the last one that was logged; also from another thread."""
        self.logger.log(dict(values), self._last)
