"""The recipe's `train` section."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from headwater.core.config import Section, Whole
from headwater.train.guard.config import GuardConfig
from headwater.train.model import Model
from headwater.train.parallel import SPLIT_BACKWARD, Parallel, problems


class Optimizer(Section):
    """AdamW (Loshchilov and Hutter, ICLR 2019). Norms and the embedding are not decayed; a tied
    embedding is the head, and is.

    Attributes:
        learning_rate: Peak learning rate.
        betas: Decay of the running mean of the gradient and of its square.
        eps: Added to the denominator.
        weight_decay: Decoupled weight decay of the matrices.
    """

    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0, lt=1)
    weight_decay: float = Field(default=0.1, ge=0, le=10)


class Schedule(Section):
    """Warmup, stable, decay (Hu et al., 2024, arXiv:2404.06395).

    Attributes:
        warmup_steps: Steps of linear warmup.
        decay_ratio: Share of all steps, at the end, in which the learning rate falls.
        decay: Shape of the fall.
        final_ratio: Learning rate at the end, as a share of the peak.
    """

    warmup_steps: Whole = Field(default=20, ge=0)
    decay_ratio: float = Field(default=0.3, ge=0, le=1)
    decay: Literal["linear", "sqrt", "cosine"] = "linear"
    final_ratio: float = Field(default=0.05, ge=0, le=1)


class Validation(Section):
    """Loss on held-out documents.

    Attributes:
        every: Steps between two validations; 0 turns it off. The last step and every checkpoint are validated too.
        batches: At most so many batches of `global_batch` samples, over all sources together.
    """

    every: Whole = Field(default=100, ge=0)
    batches: Whole = Field(default=16, ge=1)


class Checkpoint(Section):
    """Which checkpoints are written and kept.

    Attributes:
        every: Steps between two checkpoints. The last step is always one.
        keep_last: How many of the newest are kept.
        keep_best: How many of the best by validation loss are kept besides.
        keep_every: The checkpoints of steps that are multiples of it are kept for good; 0: none.
        background: Whether training goes on while a checkpoint is written. It takes as much memory of the host as
            weights and optimizer take on the device.
        mirror: A folder or a URI (`s3://bucket/run`, `gs://…`) where every checkpoint that is kept is copied to, with
            the logs. A run whose folder was lost goes on from there. Of one run only.
    """

    every: Whole = Field(default=100, ge=1)
    keep_last: Whole = Field(default=2, ge=1)
    keep_best: Whole = Field(default=1, ge=0)
    keep_every: Whole = Field(default=0, ge=0)
    background: bool = True
    mirror: str | None = Field(default=None, min_length=1)


class TrainConfig(Section):
    """The `train` section of a recipe.

    Attributes:
        init_from: Weights to start from: "imported" is what `headwater import` put into RUN/init; else the folder of a
            checkpoint or of imported weights. `model` has to describe them. Default: random weights.
        seq_len: Tokens in a sample.
        global_batch: Samples in an optimizer step, over all processes.
        micro_batch: Samples in a forward pass of one process.
        steps: Optimizer steps in all.
        clip_norm: The gradient's L2 norm is scaled down to this.
        guard: What is watched for, and what is done about it.
        device: Where to train; auto takes CUDA when there is one.
        precision: Of the matrix products; bfloat16 and float8 keep float32 master weights. float8 is bfloat16 with the
            linear layers in float8, scaled row by row; it needs the extra `float8`, and `compile` to be any faster.
        activation_checkpointing: What the backward pass computes again instead of keeping it (Chen et al., 2016,
            arXiv:1604.06174): nothing; of each block all but attention and every second product ("selective"); or each
            block whole.
        compile: Whether to compile the blocks with torch.compile.
        threads: CPU threads of one process; default: all cores.
        metrics: Sinks of the metrics besides `metrics.jsonl`: name → options, for example `prometheus: {port: 9464}`.
    """

    model: Model = Model()
    init_from: str | None = Field(default=None, min_length=1)
    seq_len: Whole = Field(default=256, ge=2)
    global_batch: Whole = Field(default=16, ge=1)
    micro_batch: Whole = Field(default=8, ge=1)
    steps: Whole = Field(default=1000, ge=1)
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    clip_norm: float = Field(default=1.0, gt=0)
    validation: Validation = Validation()
    checkpoint: Checkpoint = Checkpoint()
    parallel: Parallel = Parallel()
    guard: GuardConfig = GuardConfig()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16", "float8"] = "float32"
    activation_checkpointing: Literal["none", "selective", "full"] = "none"
    compile: bool = False
    threads: Whole | None = Field(default=None, ge=1, le=1024)
    metrics: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        found = problems(
            self.parallel, self.model, seq_len=self.seq_len, global_batch=self.global_batch,
            micro_batch=self.micro_batch, compiled=self.compile,
        )  # fmt: skip
        if problem := next(found, None):
            raise ValueError(problem)
        if self.activation_checkpointing == "selective" and self.parallel.schedule in SPLIT_BACKWARD:
            raise ValueError(
                f"activation_checkpointing selective does not go with schedule {self.parallel.schedule}: full does"
            )
        if self.precision == "float8" and self.parallel.tp > 1:
            raise ValueError("precision float8 does not go with parallel.tp: it has not been held against one process")
        if self.model.max_seq_len is not None and self.model.max_seq_len < self.seq_len:
            raise ValueError(f"model.max_seq_len ({self.model.max_seq_len}) is below seq_len ({self.seq_len})")
        return self


NEUTRAL = (
    "init_from", "metrics", "threads", "device", "parallel", "checkpoint", "validation", "micro_batch", "compile",
    "activation_checkpointing", "guard",
)  # fmt: skip
"""Keys of the section that may change when a run goes on: they change neither the model nor its data, only (in the
last digits) the rounding of sums, or what is written beside the run. Initial weights are compared by their digest. The
guard decides by its new settings from there on; what it has done so far is in the checkpoint."""


def recorded(config: TrainConfig) -> dict[str, Any]:
    """The section as checkpoints and artifacts record it.

    Where, and on what time, they are written is no part of it, nor is where the initial weights lie: they are a parent.
    """
    return config.model_dump(
        mode="json",
        exclude={"init_from": True, "metrics": True, "checkpoint": {"background", "mirror"}, "guard": {"stall"}},
    )


def identity(config: TrainConfig) -> dict[str, Any]:
    """The section less what may change when a run goes on."""
    return config.model_dump(mode="json", exclude=set(NEUTRAL))
