"""Predictions of the published runs, and their errors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from headwater.train.plan.clusters import GIB, GPUS, Gpu
from headwater.train.plan.counts import flops_per_token
from headwater.train.plan.efficiency import FITTED, Efficiency
from headwater.train.plan.job import Degrees, Job
from headwater.train.plan.memory import memory_per_gpu
from headwater.train.plan.runs import PublishedRun, published_runs, shapes
from headwater.train.plan.speed import step_speed


@dataclass(frozen=True)
class Compared:
    """A published run and what is predicted of it.

    Attributes:
        run: The row.
        measured, predicted: Tokens a second and GPU; nothing measured of rows of memory alone.
        memory_measured, memory_predicted: Peak of a GPU in GiB, where the source gives it.
    """

    run: PublishedRun
    measured: float | None
    predicted: float
    memory_measured: float | None
    memory_predicted: float

    @property
    def error(self) -> float | None:
        """Of the speed, relative to the measured one; that of MFU is the same."""
        return None if self.measured is None else self.predicted / self.measured - 1

    @property
    def memory_error(self) -> float | None:
        """Of the memory, relative to the measured one."""
        return None if self.memory_measured is None else self.memory_predicted / self.memory_measured - 1


@dataclass(frozen=True)
class Errors:
    """Absolute relative errors of some rows.

    Attributes:
        rows: How many.
        median, ninetieth: Of the absolute errors; a share.
        bias: Median of the errors with their sign.
    """

    rows: int
    median: float
    ninetieth: float
    bias: float


def job_of(run: PublishedRun) -> tuple[Job, Gpu]:
    """A published run as a job, and the GPU that it ran on."""
    shape = shapes()[run.model]
    if run.seq_len > shape.max_seq_len:
        shape = shape.model_copy(update={"max_seq_len": run.seq_len})
    degrees = Degrees(
        dp_replicate=run.dp_replicate or 1, dp_shard=run.dp_shard or 1, tp=run.tp or 1, pp=run.pp or 1,
        cp=run.cp or 1, ep=run.ep or 1, virtual=run.virtual or 1, zero=run.zero or 0,
        schedule="1F1B" if (run.virtual or 1) == 1 else "Interleaved1F1B",
    )  # fmt: skip
    job = Job(
        shape=shape, degrees=degrees, seq_len=run.seq_len, global_batch=run.global_batch or 1,
        micro_batch=run.micro_batch or 1, precision="float8" if run.precision == "fp8" else "bfloat16",
        checkpointing=run.checkpointing or "none", kernels=run.kernels or "eager", attention=run.attention or "flash",
        tp_overlap=run.tp_overlap, recomputed=run.recomputed, pure=bool(run.pure), loss=run.loss or "plain",
        reduce_bytes=2 if run.pure or run.reduce == "bf16" else 4, outer_as_blocks=run.split == "outer",
        sequence_parallel=run.sequence_parallel is not False, data_overlap=run.data_overlap is not False,
        gradient_bytes=4 if run.gradient_bytes is None else run.gradient_bytes,
    )  # fmt: skip
    gpu = GPUS[run.gpu]
    return job, replace(gpu, network_bandwidth=run.network_gbps * 1e9 / 8) if run.network_gbps else gpu


def measured_rate(run: PublishedRun, job: Job) -> float | None:
    """Tokens a second and GPU that a row says, by the source's own count of operations, if it is modelled."""
    if run.value is None or not run.speed_modelled:
        return None
    if run.measured == "tokens_per_second_per_gpu":
        return run.value
    if run.measured == "hardware_teraflops":  # Narayanan et al., 2021, equation 3, with the recomputed forward pass
        shape, seq_len = job.shape, run.seq_len
        layers, dim = shape.n_layers, shape.dim
        forward = 96.0 * layers * dim**2
        return run.value * 1e12 / (
            forward * (1 + seq_len / (6 * dim) + shape.vocab_size / (16 * layers * dim))
        )  # fmt: skip
    return run.value * 1e12 / flops_per_token(job.shape, run.seq_len)


def compare(run: PublishedRun, fitted: Efficiency = FITTED) -> Compared:
    """Predicts a row."""
    job, gpu = job_of(run)
    speed = step_speed(job, gpu, fitted)
    memory = memory_per_gpu(job, kind=run.memory_kind or "device").total / GIB
    return Compared(run, measured_rate(run, job), speed.tokens_per_second_per_gpu, run.memory_gib, memory)


def compare_all(fitted: Efficiency = FITTED) -> list[Compared]:
    """Predicts every row that can be."""
    return [compare(run, fitted) for run in published_runs() if run.modelled]


def errors_of(values: Iterable[float | None]) -> Errors:
    """Summarises relative errors.

    Args:
        values: With their sign, as shares; none where nothing was measured.
    """
    signed = [value for value in values if value is not None]
    size = sorted(abs(value) for value in signed)
    ninetieth = size[min(len(size) - 1, math.ceil(0.9 * len(size)) - 1)]
    return Errors(len(size), statistics.median(size), ninetieth, statistics.median(signed))


@cache
def held_back() -> tuple[Errors, Errors]:
    """Errors of the speed, and of the memory, on the published runs that nothing was fitted on."""
    rows = [row for row in compare_all() if not row.run.calibrates]
    memory = errors_of(row.memory_error for row in rows)
    return errors_of(row.error for row in rows), memory
