"""The one table of every metric. The exporter, the report and `docs/metrics.md` are generated from it.

Names follow Prometheus: prefix `headwater_`, base units, `_total` for counters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Stage = Literal["train"]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Full name.
        kind: Prometheus type. A counter is logged as its running total, a histogram as single observations.
        unit: Unit of the value; "1" for a pure number.
        help: One sentence for people.
        stage: Who sets it.
        buckets: Upper bounds of a histogram's buckets, in the metric's unit.
    """

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    unit: str
    help: str
    stage: Stage
    buckets: tuple[float, ...] = ()


STEP_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

TRAIN_STEP = Metric("headwater_train_step", "gauge", "1", "Optimizer steps done.", "train")
TRAIN_LOSS = Metric("headwater_train_loss", "gauge", "nats/token", "Mean loss of the global batch.", "train")
TRAIN_GRAD_NORM = Metric("headwater_train_grad_norm", "gauge", "1", "L2 norm of the gradient before clipping.", "train")
TRAIN_LEARNING_RATE = Metric("headwater_train_learning_rate", "gauge", "1", "Learning rate of the step.", "train")
TRAIN_TOKENS = Metric("headwater_train_tokens_total", "counter", "tokens", "Tokens trained on.", "train")
TRAIN_SAMPLES = Metric("headwater_train_samples_total", "counter", "samples", "Samples trained on.", "train")
TRAIN_THROUGHPUT = Metric(
    "headwater_train_tokens_per_second", "gauge", "tokens/s", "Tokens trained on a second, all ranks together.", "train"
)
TRAIN_STEP_SECONDS = Metric(
    "headwater_train_step_seconds", "histogram", "s", "Wall time of a step.", "train", STEP_BUCKETS
)
TRAIN_MFU = Metric(
    "headwater_train_mfu", "gauge", "1",
    "Model FLOPs utilization on a GPU: share of its peak in bfloat16 (an A100's where the GPU is not known).", "train",
)  # fmt: skip
TRAIN_PEAK_MEMORY = Metric(
    "headwater_train_peak_memory_bytes", "gauge", "bytes",
    "Most memory that tensors took on the GPU of rank 0, since the run began.", "train",
)  # fmt: skip
TRAIN_VALIDATION_LOSS = Metric(
    "headwater_train_validation_loss", "gauge", "nats/token", "Mean loss on held-out documents.", "train"
)
TRAIN_VALIDATION_BPB = Metric(
    "headwater_train_validation_bits_per_byte", "gauge", "bits/byte",
    "Loss on held-out documents in bits a UTF-8 byte of text.", "train",
)  # fmt: skip
TRAIN_CHECKPOINTS = Metric("headwater_train_checkpoints_total", "counter", "1", "Checkpoints written.", "train")
TRAIN_CHECKPOINT_SECONDS = Metric(
    "headwater_train_checkpoint_seconds", "gauge", "s", "Wall time of the latest checkpoint.", "train"
)
TRAIN_NONFINITE = Metric(
    "headwater_train_nonfinite_steps_total", "counter", "1",
    "Steps whose loss or gradient norm was NaN or infinite.", "train",
)  # fmt: skip

TRAIN_SPIKES = Metric(
    "headwater_train_spikes_total", "counter", "1", "Spikes that the loss guard found beyond single skipped steps.",
    "train",
)  # fmt: skip
TRAIN_SKIPPED_STEPS = Metric(
    "headwater_train_skipped_steps_total", "counter", "1", "Steps whose update the loss guard left out.", "train"
)
TRAIN_ROLLBACKS = Metric(
    "headwater_train_rollbacks_total", "counter", "1", "Times that the loss guard went back to a checkpoint.", "train"
)
TRAIN_SKIPPED_SAMPLES = Metric(
    "headwater_train_skipped_samples_total", "counter", "samples", "Samples that rollbacks excluded.", "train"
)
TRAIN_STALLS = Metric(
    "headwater_train_stalls_total", "counter", "1", "Times that no step was done for too long.", "train"
)

TABLE: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        TRAIN_STEP, TRAIN_LOSS, TRAIN_GRAD_NORM, TRAIN_LEARNING_RATE, TRAIN_TOKENS, TRAIN_SAMPLES, TRAIN_THROUGHPUT,
        TRAIN_STEP_SECONDS, TRAIN_MFU, TRAIN_PEAK_MEMORY, TRAIN_VALIDATION_LOSS, TRAIN_VALIDATION_BPB,
        TRAIN_CHECKPOINTS, TRAIN_CHECKPOINT_SECONDS, TRAIN_NONFINITE, TRAIN_SPIKES, TRAIN_SKIPPED_STEPS,
        TRAIN_ROLLBACKS, TRAIN_SKIPPED_SAMPLES, TRAIN_STALLS,
    )
}  # fmt: skip
"""Name → metric, in the order of the documentation."""
