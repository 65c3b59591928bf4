"""The recipe's `train` section."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, Literal

from pydantic import Field, model_validator

from headwater.core.config import Section, Whole
from headwater.core.ramp import Ramp, StepSamples
from headwater.train.clipping import AdaptiveClip
from headwater.train.guard.config import GuardConfig
from headwater.train.model import Model
from headwater.train.mup import Mup
from headwater.train.objectives.config import Causal, ObjectiveConfig
from headwater.train.objectives.config import problems as objective_problems
from headwater.train.optimizers.config import Adafactor, AdamW, Optimizer, Sgd
from headwater.train.parallel import SPLIT_BACKWARD, Parallel, problems
from headwater.train.reweighting import Reweighting
from headwater.train.schedules import Schedule, Wsd
from headwater.train.stopping import EarlyStopping


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
        objective: What the model is trained to predict, by its `kind`. Causal language modelling is not written down
            where the section is recorded: recipes without the key have the identity that they always had.
        init_from: Weights to start from: "imported" is what `headwater import` put into RUN/init; else the folder of a
            checkpoint or of imported weights, relative to the folder the command runs in. `model` has to describe them.
            Default: random weights.
        seq_len: Tokens in a sample.
        global_batch: Samples in an optimizer step, over all processes.
        batch_ramp: The first steps, which have a batch of their own each (see `core.ramp`); none: no ramp-up.
        micro_batch: Samples in a forward pass of one process.
        steps: Optimizer steps in all.
        optimizer: What trains which parameters (see `train.optimizers.config`).
        schedule: The learning rate of each step (see `train.schedules`).
        reweighting: Weights of the mixture that follow the loss; none: they stay.
        clip_norm: The gradient's L2 norm is scaled down to this.
        adaptive_clip: What is clipped besides (see `train.clipping`).
        mup: Width transfer (see `train.mup`).
        z_loss: Weight of the squared log of the softmax's denominator in the loss of training (Chowdhery et al., 2022,
            arXiv:2204.02311, section 5).
        label_smoothing: Share of the target that is spread over the whole vocabulary in training (Szegedy et al.,
            2016, arXiv:1512.00567).
        early_stopping: When the run ends before its last step.
        guard: What is watched for, and what is done about it.
        device: Where to train; auto takes CUDA when there is one.
        precision: Of the matrix products; all but float32 keep float32 master weights. float16 scales the loss
            dynamically. float8 is bfloat16 with the linear layers in float8, scaled row by row; it needs the extra
            `float8`, and `compile` to be any faster. mxfp8 scales blocks of 32 (OCP MX v1.0); it needs the same, and a
            Blackwell GPU.
        attention: How attention is computed on a GPU: FlexAttention (Dong et al., 2024, arXiv:2412.05496), on Hopper
            and later also with FlashAttention's kernels in it (flex_flash), or FlashAttention of variable lengths
            (varlen; Dao, 2023, arXiv:2307.08691). auto is flex. A CPU has dense masks (sdpa).
        activation_checkpointing: What the backward pass computes again instead of keeping it (Chen et al., 2016,
            arXiv:1604.06174): nothing; of each block all but attention and every second product ("selective"); or each
            block whole.
        offload: What lies in host memory between steps: nothing, or the optimizer's state, which every step brings to
            the device and takes back (see `train.optimizers.offload`); of GPUs only.
        compile: Whether to compile the blocks with torch.compile.
        threads: CPU threads of one process; default: all cores.
        metrics: Sinks of the metrics besides `metrics.jsonl`: name → options, for example `prometheus: {port: 9464}`.
    """

    model: Model = Model()
    objective: ObjectiveConfig = Field(default=Causal(), exclude_if=lambda objective: objective == Causal())
    init_from: str | None = Field(default=None, min_length=1)
    seq_len: Whole = Field(default=256, ge=2)
    global_batch: Whole = Field(default=16, ge=1)
    micro_batch: Whole = Field(default=8, ge=1)
    batch_ramp: Ramp = Field(default=(), exclude_if=lambda ramp: not ramp)
    steps: Whole = Field(default=1000, ge=1)
    optimizer: Optimizer = AdamW()
    schedule: Schedule = Wsd()
    reweighting: Reweighting | None = Field(default=None, exclude_if=lambda section: section is None)
    clip_norm: float = Field(default=1.0, gt=0)
    adaptive_clip: AdaptiveClip | None = Field(default=None, exclude_if=lambda clip: clip is None)
    mup: Mup | None = Field(default=None, exclude_if=lambda mup: mup is None)
    z_loss: float = Field(default=0.0, ge=0, le=1, exclude_if=lambda weight: not weight)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, exclude_if=lambda share: not share)
    early_stopping: EarlyStopping | None = Field(default=None, exclude_if=lambda stopping: stopping is None)
    validation: Validation = Validation()
    checkpoint: Checkpoint = Checkpoint()
    parallel: Parallel = Parallel()
    guard: GuardConfig = GuardConfig()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16", "float16", "float8", "mxfp8"] = "float32"
    attention: Literal["auto", "flex", "flex_flash", "varlen", "sdpa"] = "auto"
    activation_checkpointing: Literal["none", "selective", "full"] = "none"
    offload: Literal["none", "optimizer"] = Field(default="none", exclude_if=lambda offload: offload == "none")
    compile: bool = False
    threads: Whole | None = Field(default=None, ge=1, le=1024)
    metrics: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        found = problems(
            self.parallel, self.model, seq_len=self.seq_len, global_batch=self.global_batch,
            micro_batch=self.micro_batch, compiled=self.compile,
        )  # fmt: skip
        objective = objective_problems(self.objective, self.model, self.parallel, init_from=self.init_from)
        if problem := next(chain(found, objective, self._ramp_problems(), self._optimizer_problems()), None):
            raise ValueError(problem)
        if self.activation_checkpointing == "selective" and self.parallel.schedule in SPLIT_BACKWARD:
            raise ValueError(
                f"activation_checkpointing selective does not go with schedule {self.parallel.schedule}: full does"
            )
        if self.reweighting is not None and (self.label_smoothing or self.z_loss):
            raise ValueError(
                "reweighting does not go with label_smoothing or z_loss: the reference's losses are without them"
            )
        if self.precision in ("float8", "mxfp8") and self.parallel.tp > 1:
            raise ValueError(
                f"precision {self.precision} does not go with parallel.tp: it has not been held against one process"
            )
        if self.precision == "float16" and self.model.family == "deepseek_v3":
            raise ValueError(
                "precision float16 does not go with model.family deepseek_v3: experts need bfloat16's range"
            )
        if self.attention == "varlen" and self.parallel.cp > 1:
            raise ValueError("attention varlen does not go with parallel.cp: flex does")
        if self.model.max_seq_len is not None and self.model.max_seq_len < self.seq_len:
            raise ValueError(f"model.max_seq_len ({self.model.max_seq_len}) is below seq_len ({self.seq_len})")
        return self

    @property
    def step_samples(self) -> StepSamples:
        """The samples of each step."""
        return StepSamples(self.global_batch, self.batch_ramp)

    def _ramp_problems(self) -> Iterator[str]:
        layout = self.parallel
        if self.batch_ramp and layout.pp > 1 and layout.micro_batches is None:
            yield "batch_ramp with parallel.pp needs parallel.micro_batches: a pass through the pipeline is of one size"
        round_size = self.micro_batch * layout.micro_batches_of(self.global_batch, self.micro_batch) * layout.dp
        for place, stage in enumerate(self.batch_ramp):
            if stage.batch % round_size:
                yield (
                    f"batch_ramp.{place}.batch ({stage.batch}) must be a multiple of {round_size}, what all processes "
                    "read at once"
                )
        if sum(stage.steps for stage in self.batch_ramp) > self.steps:
            yield f"batch_ramp has more steps than the run ({self.steps})"

    def _optimizer_problems(self) -> Iterator[str]:
        layout, optimizer = self.parallel, self.optimizer
        if isinstance(optimizer, Sgd) and optimizer.nesterov and not optimizer.momentum:
            yield "optimizer.nesterov needs optimizer.momentum above 0"
        if optimizer.layer_decay < 1 and self.model.tied:
            yield "optimizer.layer_decay does not go with model.tied: the embedding is the first layer and the last"
        if optimizer.layer_decay < 1 and self.objective.kind in ("replaced_token", "multi_token"):
            yield f"optimizer.layer_decay does not go with objective {self.objective.kind}: it has more than one stack"
        if self.mup is not None:
            if isinstance(optimizer, Adafactor | Sgd):
                yield f"mup does not go with optimizer {optimizer.name}: it has none for adafactor and sgd"
            if self.objective.kind == "replaced_token":
                yield "mup does not go with objective replaced_token: the generator's width has no rule"
            if self.model.tied or self.model.family == "deepseek_v3":
                yield "mup does not go with model.tied, nor with family deepseek_v3: it has not been checked there"
        if (self.z_loss or self.label_smoothing) and layout.tp > 1:
            yield "z_loss and label_smoothing do not go with parallel.tp: the loss is on shards of the vocabulary there"
        if self.attention in ("flex_flash", "varlen") and self.objective != Causal():
            yield f"attention {self.attention} goes with objective causal only, not {self.objective.kind}: use flex"
        if self.early_stopping is not None and not self.validation.every:
            yield "early_stopping needs validation.every above 0"


NEUTRAL = (
    "init_from", "metrics", "threads", "device", "parallel", "checkpoint", "validation", "micro_batch", "compile",
    "activation_checkpointing", "guard", "attention", "offload",
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
    """The section less what may change when a run goes on; what is chosen by name has it here also by default."""
    values = config.model_dump(mode="json", exclude=set(NEUTRAL))
    values["objective"] = config.objective.model_dump(mode="json")
    for part in ("optimizer", "schedule"):
        values[part]["name"] = getattr(config, part).name
    return values
