"""torchtitan's metrics processor, feeding the sinks of `core.sinks` under the names of `core.metrics`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torchtitan.components.metrics import BaseLogger, MetricsProcessor

from headwater.core import metrics as names
from headwater.core.sinks import MetricSink


class SinkLogger(BaseLogger):
    """A torchtitan logger over Headwater's sinks."""

    def __init__(self, sinks: list[MetricSink]) -> None:
        self.sinks = sinks

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Hands values named as in `core.metrics` to every sink."""
        for sink in self.sinks:
            sink.log(step, metrics)


class HeadwaterMetrics(MetricsProcessor):
    """Step metrics, validation and checkpoints, under the one table's names. The sinks belong to the caller."""

    @dataclass(kw_only=True, slots=True)
    class Config(MetricsProcessor.Config):
        """As the base, and the objects of the run that are no configuration (leading underscore)."""

        _sinks: Any = None

    def _build_metric_logger(self, *, config: Config, **_: Any) -> BaseLogger:  # type: ignore[override]
        return SinkLogger(config._sinks or [])

    def start_step(self) -> None:
        """Starts the step's clock."""
        self._step_began = time.perf_counter()

    def log_step(
        self, step: int, *, loss: float, grad_norm: float, learning_rate: float, tokens: int, samples: int,
        step_tokens: int,
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

        Returns:
            Tokens a second.
        """
        seconds = time.perf_counter() - self._step_began
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
            },
            step,
        )
        self.ntokens_since_last_log = 0
        self.data_loading_times.clear()
        return step_tokens / seconds

    def log_values(self, step: int, values: Mapping[str, float]) -> None:
        """Logs any values of the table."""
        self.logger.log(dict(values), step)
