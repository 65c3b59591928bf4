"""The recipe of a plan, as the trainer takes it."""

from __future__ import annotations

from typing import Any

from headwater.core.config import Base, validate
from headwater.core.errors import ConfigError
from headwater.train.config import TrainConfig
from headwater.train.model import Model
from headwater.train.optimizers.config import AdamW, AdamW8bit, Muon
from headwater.train.plan.cost import Cost
from headwater.train.plan.job import Degrees, Job, Precision
from headwater.train.plan.recommend import nearest_runs
from headwater.train.plan.search import parallel_of

CHECKPOINT_SECONDS = 3600.0
"""Time between two checkpoints that a plan proposes, and so the most that a failure loses."""

SHAPE = ("family", "dim", "n_layers", "n_heads", "n_kv_heads", "ffn_dim", "vocab_size")
"""What a recipe says of its model even where it is the default."""

_AS_WIDE: dict[str, Precision] = {
    "float32": "float32", "bfloat16": "bfloat16", "float16": "bfloat16", "float8": "float8", "mxfp8": "float8",
}  # fmt: skip
"""The precision that takes as many bytes, of those that plans know."""

WARMUP_RATIO, WARMUP_STEPS, DECAY_RATIO = 0.02, 2000, 0.2


def recipe_of(job: Job, model: Model, cost: Cost, *, name: str, device: str, compiled: bool,
              base: dict[str, Any] | None = None) -> dict[str, Any]:  # fmt: skip
    """The recipe that trains a plan.

    Args:
        job: The plan's training and layout.
        model: Its model.
        cost: What it takes; the steps are from there.
        name: Of the run.
        device: "cuda" or "cpu".
        compiled: Whether blocks are compiled.
        base: A recipe whose other sections are kept, and of whose `train` what a plan does not decide.

    Raises:
        ConfigError: Adapters, which the trainer does not have.
    """
    if job.adapters:
        raise ConfigError(
            f"there is no recipe of a plan with --method {job.method}", found="the trainer trains all weights",
            expected="--method pretrain or sft, or the plan without --out",
        )  # fmt: skip
    every = max(1, round(CHECKPOINT_SECONDS / (cost.seconds / cost.steps)))
    every = min(every, cost.steps)
    parallel = parallel_of(job.degrees).model_dump(mode="json", exclude_defaults=True)
    train: dict[str, Any] = {
        "model": {
            **model.model_dump(mode="json", include=set(SHAPE)), **model.model_dump(mode="json", exclude_defaults=True)
        },
        "seq_len": job.seq_len, "global_batch": job.global_batch, "micro_batch": job.micro_batch, "steps": cost.steps,
        "optimizer": _optimizer(job),
        "schedule": {
            "warmup_steps": min(WARMUP_STEPS, max(1, round(cost.steps * WARMUP_RATIO))), "decay_ratio": DECAY_RATIO,
        },
        "checkpoint": {"every": every}, "validation": {"every": every},
        "precision": job.precision, "activation_checkpointing": job.checkpointing, "compile": compiled,
        "device": device,
    }  # fmt: skip
    if parallel:
        train["parallel"] = parallel
    if job.offload:
        train["offload"] = "optimizer"
    recipe = dict(base or {})
    recipe.setdefault("name", name)
    recipe.setdefault("seed", 0)
    begun = {"init_from": "imported"} if job.method == "sft" else {}
    recipe["train"] = {**begun, **(recipe.get("train") or {}), **train}
    if not parallel:
        recipe["train"].pop("parallel", None)
    validate(Base, {key: recipe[key] for key in Base.model_fields}, "")
    validate(TrainConfig, recipe["train"], "train")
    return recipe


def _optimizer(job: Job) -> dict[str, Any]:
    """The section; the learning rate is a published one where it is right for the optimizer, which Adam's are for."""
    section = job.optimizer.model_dump(mode="json", exclude_defaults=True)
    if isinstance(job.optimizer, AdamW | AdamW8bit | Muon):
        section["learning_rate"] = nearest_runs(job.counts.active, 1, method=job.method)[0].learning_rate
    return section


def job_of_config(config: TrainConfig, vocab_size: int) -> Job:
    """What memory and speed of a recipe are reckoned from: `memory_per_gpu(job_of_config(config, vocab_size))`.

    Args:
        config: The recipe's `train` section.
        vocab_size: Entries of the tokenizer's vocabulary.
    """
    layout = config.parallel
    degrees = Degrees(
        dp_replicate=layout.dp_replicate, dp_shard=layout.dp_shard, tp=layout.tp, pp=layout.pp, cp=layout.cp,
        ep=layout.ep, virtual=layout.stages // layout.pp, schedule=layout.schedule, zero=layout.zero_stage,
    )  # fmt: skip
    return Job(
        shape=config.model.shape(vocab_size, config.seq_len), degrees=degrees, seq_len=config.seq_len,
        global_batch=config.global_batch, micro_batch=config.micro_batch, precision=_AS_WIDE[config.precision],
        checkpointing=config.activation_checkpointing, kernels="compiled" if config.compile else "eager",
        loss="fused" if config.compile else "plain", optimizer=config.optimizer, offload=config.offload == "optimizer",
    )  # fmt: skip


def command_of(job: Job, host_gpus: int, recipe: str) -> str:
    """The command that starts the training, on each node where there are several.

    Args:
        job: The plan's training and layout.
        host_gpus: GPUs of a machine.
        recipe: Where the recipe is.
    """
    run = f"train run --recipe {recipe} --run RUN"
    processes = job.degrees.processes
    if processes == 1:
        return f"headwater {run}"
    nodes = max(1, processes // host_gpus)
    where = "--standalone" if nodes == 1 else f"--nnodes {nodes} --rdzv-backend c10d --rdzv-endpoint FIRST_NODE:29500"
    return f"torchrun {where} --nproc-per-node {min(processes, host_gpus)} -m -- headwater.{run}"
