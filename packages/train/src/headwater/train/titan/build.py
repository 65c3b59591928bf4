"""From the recipe's `train` section to torchtitan's configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torchtitan.components.checkpointer.utils import canonical_fqn
from torchtitan.config.configs import CommConfig, CompileConfig, DebugConfig, ParallelismConfig, TrainingConfig
from torchtitan.distributed.activation_checkpoint import FullAC, SelectiveAC

from headwater.core.errors import ConfigError
from headwater.core.sinks import MetricSink
from headwater.train.config import TrainConfig
from headwater.train.held_out import HeldOut
from headwater.train.inputs import Inputs
from headwater.train.objectives.causal import Causal
from headwater.train.objectives.held_out import of_objective
from headwater.train.optimizers.config import AdamW8bit
from headwater.train.titan.checkpoint import HeadwaterCheckpoints
from headwater.train.titan.float8 import in_float8, in_mxfp8
from headwater.train.titan.loader import NoTokenizer, OrderLoader
from headwater.train.titan.metrics import HeadwaterMetrics
from headwater.train.titan.model import model_spec
from headwater.train.titan.objective_losses import loss_config
from headwater.train.titan.optimizers import HeadwaterOptimizers, HeadwaterSchedules, assignment_of
from headwater.train.titan.pipeline import stage_modules
from headwater.train.titan.trainer import HeadwaterTrainer
from headwater.train.titan.validate import HeldOutValidator
from headwater.train.torchao import require_torchao

CHECKPOINTING = {"none": None, "selective": SelectiveAC.Config(), "full": FullAC.Config()}


def trainer_config(
    inputs: Inputs, data: HeldOut | None, sinks: list[MetricSink], device: str
) -> HeadwaterTrainer.Config:
    """Torchtitan's configuration of a run.

    Args:
        inputs: The run's inputs.
        data: The validation set, if there is one.
        sinks: Where metrics go; they stay the caller's to close.
        device: "cpu" or "cuda".
    """
    config = inputs.config
    spec = model_spec(inputs.shape, device, inputs.base.seed, config.mup, config.objective, config.attention)
    assignment = assignment_of(config)
    if config.optimizer.groups:
        with torch.device("meta"):
            assignment.refuse_unused(canonical_fqn(name) for name, _ in spec.model.build().named_parameters())
    if config.offload != "none" and device == "cpu":
        raise ConfigError(
            f"train.offload {config.offload} is for GPUs alone: a CPU's memory is the host's", found=device,
            expected="train.offload: none",
        )  # fmt: skip
    if isinstance(config.optimizer, AdamW8bit):
        require_torchao("train.optimizer.name adamw_8bit", "adamw_8bit")
    if config.precision == "float8":
        spec = replace(spec, model=in_float8(spec.model, device, compiled=config.compile))
    if config.precision == "mxfp8":
        spec = replace(spec, model=in_mxfp8(spec.model, device, compiled=config.compile))
    return HeadwaterTrainer.Config(
        model_spec=spec,
        dump_folder=str(inputs.run.train),
        tokenizer=NoTokenizer.Config(),
        dataloader=OrderLoader.Config(_inputs=inputs),
        optimizer=HeadwaterOptimizers.Config(_assignment=assignment, _offloaded=config.offload == "optimizer"),
        lr_scheduler=HeadwaterSchedules.Config(_config=config),
        training=training(config),
        parallelism=parallelism(config),
        checkpoint=HeadwaterCheckpoints.Config(
            enable=True, folder="checkpoints", interval=config.checkpoint.every, last_save_model_only=False,
            keep_latest_k=0, initial_load_model_only=False, _inputs=inputs,
        ),
        activation_checkpoint=CHECKPOINTING[config.activation_checkpointing],
        compile=CompileConfig(enable=config.compile),
        # No flight recorder: it would make a folder of traces in the run.
        comm=CommConfig(trace_buf_size=0),
        metrics=HeadwaterMetrics.Config(log_freq=1, disable_color_printing=True, _sinks=sinks),
        validator=_validator(inputs, data),
        debug=DebugConfig(seed=inputs.base.seed, deterministic=device == "cuda", enable_structured_logging=False),
        loss=loss_config(config),
    )  # fmt: skip


def training(config: TrainConfig) -> TrainingConfig:
    """Batch, length and precision."""
    micro_batches = config.parallel.micro_batches_of(config.global_batch, config.micro_batch)
    return TrainingConfig(
        local_batch_size=config.micro_batch * micro_batches, global_batch_size=config.global_batch,
        seq_len=config.seq_len, max_norm=config.clip_norm, steps=config.steps, disable_cuda_graphs=True,
        mixed_precision_param=config.precision if config.precision in ("float32", "float16") else "bfloat16",  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def parallelism(config: TrainConfig) -> ParallelismConfig:
    """The layout."""
    layout = config.parallel
    # 3 gathers the weights twice, for the forward and for the backward pass; 1 and 2 keep them in between. Without a
    # pipeline torchtitan's default is 3, less the head, whose backward pass comes at once.
    whole: Literal["default", "always"] = "default" if layout.pp == 1 else "always"
    return ParallelismConfig(
        # torchtitan 0.3.0 on torch 2.13: the default backend, spmd_types, fails beyond one rank.
        spmd_backend="partial_dtensor", data_parallel_replicate_degree=layout.dp_replicate,
        data_parallel_shard_degree=layout.dp_shard,
        fsdp_reshard_after_forward=whole if layout.zero_stage == 3 else "never",
        tensor_parallel_degree=layout.tp, context_parallel_degree=layout.cp, expert_parallel_degree=layout.ep,
        pipeline_parallel_degree=layout.pp, pipeline_parallel_schedule=layout.schedule,
        pipeline_parallel_microbatch_size=config.micro_batch,
        module_fqns_per_model_part=stage_modules(config.model.n_layers, layout.stages),
    )  # fmt: skip


def _validator(inputs: Inputs, data: HeldOut | None) -> HeldOutValidator.Config:
    objective = inputs.objective
    made = None if data is None or type(objective) is Causal else of_objective(data, objective, inputs.end_of_text)
    return HeldOutValidator.Config(
        enable=data is not None and inputs.config.validation.every > 0, _data=data, _objective=made,
        _left_to_right=objective.left_to_right,
    )  # fmt: skip
