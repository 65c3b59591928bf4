"""The one table of every metric. The exporter, the report and `docs/metrics.md` are generated from it.

Names follow Prometheus: prefix `headwater_`, base units, `_total` for counters. A value is logged under its series: the
name, and what its labels are, as Prometheus writes it: `headwater_train_phase_seconds_total{phase="update"}`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Stage = Literal["train", "eval", "data"]


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
        labels: Names of its labels, whose values are few.
    """

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    unit: str
    help: str
    stage: Stage
    buckets: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()

    def series(self, **labels: str) -> str:
        """What a value is logged under.

        Args:
            **labels: A value for each of the metric's labels.

        Raises:
            ValueError: They are not the metric's labels; that is a defect of the caller.
        """
        if set(labels) != set(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, not {tuple(labels)}")
        if not labels:
            return self.name
        inside = ",".join(f'{name}="{_escaped(labels[name])}"' for name in self.labels)
        return f"{self.name}{{{inside}}}"


STEP_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

TRAIN_STEP = Metric("headwater_train_step", "gauge", "1", "Optimizer steps done.", "train")
TRAIN_LOSS = Metric("headwater_train_loss", "gauge", "nats/token", "Mean loss of the global batch.", "train")
TRAIN_LOSS_RANK_MAX = Metric(
    "headwater_train_loss_rank_max", "gauge", "nats/token", "Highest mean loss of one rank's tokens of the step.",
    "train",
)  # fmt: skip
TRAIN_LOSS_WINDOW_MAX = Metric(
    "headwater_train_loss_window_max", "gauge", "nats/token",
    "Highest loss of a step in the last minute, so that no scrape misses one.", "train",
)  # fmt: skip
TRAIN_SOURCE_LOSS = Metric(
    "headwater_train_source_loss", "gauge", "nats/token",
    "Mean loss of the samples of a source, over ten seconds or more; beyond 32 sources the smallest are `other`.",
    "train", labels=("source",),
)  # fmt: skip
TRAIN_SOURCE_TOKENS = Metric(
    "headwater_train_source_tokens_total", "counter", "tokens", "Tokens of a source trained on.", "train",
    labels=("source",),
)  # fmt: skip
TRAIN_SOURCE_WEIGHT = Metric(
    "headwater_train_source_weight_ratio", "gauge", "1",
    "Share of the samples that the mixture now takes from a source; beyond 32 sources the smallest are `other`.",
    "train", labels=("source",),
)  # fmt: skip
TRAIN_SOURCE_VALIDATION_LOSS = Metric(
    "headwater_train_source_validation_loss", "gauge", "nats/token", "Mean loss on held-out documents of a source.",
    "train", labels=("source",),
)  # fmt: skip
TRAIN_UPDATE_RATIO = Metric(
    "headwater_train_update_ratio", "gauge", "1",
    "L2 norm of a step's change of the weights over that of the weights, of a group of parameters, every ten steps.",
    "train", labels=("group",),
)  # fmt: skip
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
    "Most memory that tensors took on the GPU of rank 0, in ten seconds or more.", "train",
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
TRAIN_STEPS_PLANNED = Metric(
    "headwater_train_steps_planned", "gauge", "1", "Optimizer steps of the whole run.", "train"
)
TRAIN_STEP_TIMESTAMP = Metric(
    "headwater_train_step_timestamp_seconds", "gauge", "s", "Unix time at which the figures of the latest step came.",
    "train",
)  # fmt: skip
TRAIN_EXPERT_LOAD = Metric(
    "headwater_train_expert_load_ratio", "gauge", "1",
    "Tokens of a layer's busiest (`highest`) and idlest (`lowest`) expert over those of the mean one, of ten steps; "
    "layers beyond 64 are `deeper`.", "train", labels=("layer", "of"),
)  # fmt: skip
TRAIN_EXPERT_EVENNESS = Metric(
    "headwater_train_expert_entropy_ratio", "gauge", "1",
    "Entropy of a layer's tokens over its experts, over that of an even load: 1 is even, 0 is all to one.", "train",
    labels=("layer",),
)  # fmt: skip
TRAIN_DEAD_EXPERTS = Metric(
    "headwater_train_dead_experts", "gauge", "1", "Experts of all layers that no token went to for 100 steps.", "train"
)
TRAIN_CLIPPED_STEPS = Metric(
    "headwater_train_clipped_steps_total", "counter", "1",
    "Steps whose gradient was clipped, by a fixed or an adaptive limit.", "train",
)  # fmt: skip
TRAIN_PHASE_SECONDS = Metric(
    "headwater_train_phase_seconds_total", "counter", "s",
    "Time in a part of the steps, as the host of rank 0 sees it; on a GPU, its work counts where it is waited for.",
    "train", labels=("phase",),
)  # fmt: skip
TRAIN_HOST_MEMORY = Metric(
    "headwater_train_host_memory_bytes", "gauge", "bytes",
    "Host memory in use where rank 0 runs, by all processes of its container, or of the machine.", "train",
)  # fmt: skip
TRAIN_ENDED = Metric(
    "headwater_train_ended", "gauge", "1", "1 when the run has ended by itself: finished, stopped or halted.", "train"
)
TRAIN_HALTED = Metric(
    "headwater_train_halted", "gauge", "1",
    "1 when the loss guard has ended the run: it would not go on as it is.", "train",
)  # fmt: skip
TRAIN_MEMORY_LIMIT = Metric(
    "headwater_train_memory_limit_bytes", "gauge", "bytes",
    "Host memory that there is: the container's limit, or the machine's memory.", "train",
)  # fmt: skip
TRAIN_DEVICE_MEMORY_LIMIT = Metric(
    "headwater_train_device_memory_limit_bytes", "gauge", "bytes", "Memory of the GPU of rank 0.", "train"
)
TRAIN_CHECKPOINT_TIMESTAMP = Metric(
    "headwater_train_checkpoint_timestamp_seconds", "gauge", "s",
    "Unix time at which the latest checkpoint was whole; when the run began, while there is none.", "train",
)  # fmt: skip
TRAIN_RESTARTS = Metric(
    "headwater_train_restarts_total", "counter", "1", "Times that the run went on from a checkpoint.", "train"
)
TRAIN_STALLS = Metric(
    "headwater_train_stalls_total", "counter", "1", "Times that no step was done for too long.", "train"
)
TRAIN_RANK_STEP_SECONDS = Metric(
    "headwater_train_rank_step_seconds", "gauge", "s",
    "A rank's own mean time of a step, without its waiting for other ranks; not on GPUs, whose waiting the host does "
    "not see.", "train", labels=("rank",),
)  # fmt: skip
TRAIN_RANK_MEMORY = Metric(
    "headwater_train_rank_memory_bytes", "gauge", "bytes",
    "Most memory that tensors took on the rank's GPU in ten seconds or more; without one, resident host memory.",
    "train", labels=("rank",),
)  # fmt: skip
TRAIN_RANK_HEARTBEAT = Metric(
    "headwater_train_rank_heartbeat_timestamp_seconds", "gauge", "s",
    "Unix time at which the rank last began or ended a part of a step; of a hang, the culprit's is the oldest.",
    "train", labels=("rank",),
)  # fmt: skip
TRAIN_SLOWEST_RANK = Metric(
    "headwater_train_slowest_rank_ratio", "gauge", "1",
    "Slowest rank's own time of a step over the median of the ranks of its pipeline stage.", "train",
)  # fmt: skip
TRAIN_GPU_UTILIZATION = Metric(
    "headwater_train_gpu_utilization_ratio", "gauge", "1",
    "Share of time in which the ranks' GPUs ran any kernel, by NVML: the mean, and the lowest of a rank.", "train",
    labels=("of",),
)  # fmt: skip
TRAIN_ENERGY = Metric(
    "headwater_train_energy_joules_total", "counter", "J",
    "Energy since the processes began: `gpu` of the ranks' GPUs (NVML), `cpu` of the hosts' CPU packages (RAPL), where "
    "they say.", "train", labels=("device",),
)  # fmt: skip

EVAL_STEP = Metric("headwater_eval_step", "gauge", "1", "Step of the checkpoint that the scores are of.", "eval")
EVAL_SCORE = Metric(
    "headwater_eval_score", "gauge", "1",
    "First metric of a task or group that was asked for; `better` is higher, lower or unknown.", "eval",
    labels=("task", "metric", "better"),
)  # fmt: skip
EVAL_STDERR = Metric(
    "headwater_eval_score_stderr", "gauge", "1", "Standard error of that score over the items.", "eval",
    labels=("task", "metric", "better"),
)  # fmt: skip
EVAL_BITS_PER_BYTE = Metric(
    "headwater_eval_bits_per_byte", "gauge", "bits/byte", "Bits a UTF-8 byte of held-out documents.", "eval"
)

DATA_DONE = Metric(
    "headwater_data_done", "gauge", "1", "What is done of a step of a data job: units, files, rows or bytes.", "data",
    labels=("step",),
)  # fmt: skip
DATA_PLANNED = Metric(
    "headwater_data_planned", "gauge", "1", "What there is to do in a step of a data job.", "data", labels=("step",)
)
DATA_TIMESTAMP = Metric(
    "headwater_data_progress_timestamp_seconds", "gauge", "s", "Unix time of the latest progress of a data job.", "data"
)
DATA_DOCUMENTS = Metric(
    "headwater_data_documents", "gauge", "documents",
    "Documents of a finished data job that came into an operator (`in`), and that left it (`out`), of all sources.",
    "data", labels=("step", "way"),
)  # fmt: skip
DATA_REJECTED = Metric(
    "headwater_data_rejected_documents", "gauge", "documents",
    "Documents of a finished data job that an operator set aside, by reason.", "data", labels=("step", "reason"),
)  # fmt: skip

TABLE: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        TRAIN_STEP, TRAIN_STEPS_PLANNED, TRAIN_ENDED, TRAIN_HALTED, TRAIN_STEP_TIMESTAMP, TRAIN_LOSS,
        TRAIN_LOSS_RANK_MAX, TRAIN_LOSS_WINDOW_MAX, TRAIN_SOURCE_LOSS, TRAIN_SOURCE_VALIDATION_LOSS,
        TRAIN_SOURCE_TOKENS, TRAIN_SOURCE_WEIGHT, TRAIN_GRAD_NORM, TRAIN_UPDATE_RATIO,
        TRAIN_EXPERT_LOAD, TRAIN_EXPERT_EVENNESS, TRAIN_DEAD_EXPERTS,
        TRAIN_CLIPPED_STEPS, TRAIN_LEARNING_RATE, TRAIN_TOKENS, TRAIN_SAMPLES, TRAIN_THROUGHPUT, TRAIN_STEP_SECONDS,
        TRAIN_PHASE_SECONDS, TRAIN_MFU, TRAIN_PEAK_MEMORY, TRAIN_DEVICE_MEMORY_LIMIT, TRAIN_HOST_MEMORY,
        TRAIN_MEMORY_LIMIT, TRAIN_VALIDATION_LOSS, TRAIN_VALIDATION_BPB, TRAIN_CHECKPOINTS, TRAIN_CHECKPOINT_SECONDS,
        TRAIN_CHECKPOINT_TIMESTAMP, TRAIN_RESTARTS, TRAIN_NONFINITE, TRAIN_SPIKES, TRAIN_SKIPPED_STEPS,
        TRAIN_ROLLBACKS, TRAIN_SKIPPED_SAMPLES, TRAIN_STALLS, TRAIN_RANK_STEP_SECONDS, TRAIN_RANK_MEMORY,
        TRAIN_RANK_HEARTBEAT, TRAIN_SLOWEST_RANK, TRAIN_GPU_UTILIZATION, TRAIN_ENERGY,
        EVAL_STEP, EVAL_SCORE, EVAL_STDERR, EVAL_BITS_PER_BYTE,
        DATA_DONE, DATA_PLANNED, DATA_TIMESTAMP, DATA_DOCUMENTS, DATA_REJECTED,
    )
}  # fmt: skip
"""Name → metric, in the order of the documentation."""

_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def parse_series(series: str) -> tuple[Metric, dict[str, str]]:
    """The metric of a series, and its labels.

    Raises:
        KeyError: The metric is not in the table, or has other labels.
    """
    name, _, inside = series.partition("{")
    metric = TABLE[name]
    labels = {
        key: re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], value)
        for key, value in _LABEL.findall(inside)
    }
    if tuple(labels) != metric.labels:
        raise KeyError(series)
    return metric, labels
