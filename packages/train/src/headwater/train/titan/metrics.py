"""torchtitan's metrics processor, feeding the sinks of `core.sinks` under the names of `core.metrics`."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchtitan.components.metrics import BaseLogger, MetricsProcessor

from headwater.core import metrics as names
from headwater.core.sinks import JsonlSink, MetricSink
from headwater.train.config import TrainConfig
from headwater.train.titan.profile import PREFIX

_EVERY = 10
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def memory_limit() -> int:
    """Bytes of host memory that the process may have: its container's limit, or the machine's memory."""
    whole = os.sysconf("SC_PHYS_PAGES") * _PAGE
    try:
        return min(whole, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no such limit: "max", or another system
        return whole


def resident_memory() -> int | None:
    """Bytes of host memory that the process holds; none where there is no /proc."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return None


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
        """Drops the steps after `step` from the sinks that are files."""
        with self._lock:
            for sink in self.sinks:
                if isinstance(sink, JsonlSink):
                    sink.rewind(step)


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

    def _build_metric_logger(self, *, config: Config, **_: Any) -> BaseLogger:  # type: ignore[override]
        return SinkLogger(config._sinks or [])

    def start_step(self, step: int) -> None:
        """Starts the clock of a step."""
        self._clocked, self._step_began = step, time.perf_counter()

    def end_step(self) -> None:
        """Stops it: the step was sent, and there is nothing more to wait for. Its figures come with the next one."""
        self._step_seconds[self._clocked] = time.perf_counter() - self._step_began

    def rewind(self, step: int) -> None:
        """Drops what sinks can drop of the steps after `step`."""
        self._step_seconds.clear()
        self.logger.rewind(step)

    def log_step(
        self, step: int, *, loss: float, grad_norm: float, learning_rate: float, tokens: int, samples: int,
        step_tokens: int, clipped: bool, phases: Mapping[str, float],
    ) -> float:  # fmt: skip
        """Logs a finished step.

        Args:
            step: Steps done.
            loss: Mean loss of the global batch, nats a token.
            grad_norm: Before clipping.
            learning_rate: Of this step.
            tokens: Trained on so far.
            samples: Consumed so far.
            step_tokens: Tokens of this step, all ranks together.
            clipped: Whether the gradient was clipped.
            phases: Seconds in the parts of the steps so far (see `titan.profile`).

        Returns:
            Tokens a second.
        """
        now = time.perf_counter()
        seconds = self._step_seconds.pop(step, now - self._step_began)
        self._clipped_steps += clipped
        on_gpu = self._on_gpu(step_tokens / seconds) if torch.cuda.is_initialized() else {}
        self.logger.log(
            {
                names.TRAIN_STEP.name: step,
                names.TRAIN_LOSS.name: loss,
                names.TRAIN_GRAD_NORM.name: grad_norm,
                names.TRAIN_LEARNING_RATE.name: learning_rate,
                names.TRAIN_TOKENS.name: tokens,
                names.TRAIN_SAMPLES.name: samples,
                names.TRAIN_THROUGHPUT.name: step_tokens / seconds,
                names.TRAIN_STEP_SECONDS.name: seconds,
                names.TRAIN_STEP_TIMESTAMP.name: time.time(),
                names.TRAIN_CLIPPED_STEPS.name: self._clipped_steps,
                **on_gpu,
                **(self._now_and_then(phases) if step % _EVERY == 0 else {}),
            },
            step,
        )
        self.ntokens_since_last_log = 0
        self.data_loading_times.clear()
        return step_tokens / seconds

    def log_start(self, step: int, *, plan: TrainConfig, restarts: int) -> None:
        """Logs what is known before the first step.

        Args:
            step: The one that was done before, 0 for a new run.
            plan: The `train` section.
            restarts: Times that the run went on from a checkpoint, this one among them.
        """
        values = {
            names.TRAIN_STEPS_PLANNED.name: float(plan.steps),
            names.TRAIN_RESTARTS.name: float(restarts),
            names.TRAIN_CHECKPOINT_TIMESTAMP.name: time.time(),
            names.TRAIN_MEMORY_LIMIT.name: float(memory_limit()),
        }
        if torch.cuda.is_available():
            values[names.TRAIN_DEVICE_MEMORY_LIMIT.name] = float(torch.cuda.get_device_properties().total_memory)
        self.logger.log(values, step)

    def _now_and_then(self, phases: Mapping[str, float]) -> dict[str, float]:
        """What need not be in every step's row."""
        parts = {
            names.TRAIN_PHASE_SECONDS.series(phase=part.removeprefix(PREFIX).replace(" ", "_")): seconds
            for part, seconds in phases.items()
        }
        if (memory := resident_memory()) is not None:
            parts[names.TRAIN_RESIDENT_MEMORY.name] = float(memory)
        return parts

    def _on_gpu(self, speed: float) -> dict[str, float]:
        """Memory, and FLOPs as a share of the peak (Chowdhery et al., 2022, appendix B), which float8 has none of."""
        found = {names.TRAIN_PEAK_MEMORY.name: float(torch.cuda.max_memory_allocated())}
        if not self.has_quantization:
            share = speed / self.parallel_dims.world_size * self.num_flops_per_token / self.gpu_peak_flops
            found[names.TRAIN_MFU.name] = share
        return found

    def log_values(self, step: int, values: Mapping[str, float]) -> None:
        """Logs any values of the table."""
        self.logger.log(dict(values), step)
