"""The recipe's `train.parallel` section, and which layouts a model can be trained on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from headwater.core.config import Section, Whole
from headwater.core.errors import ConfigError
from headwater.train.model import Model

Schedule = Literal["1F1B", "GPipe", "LoopedBFS", "Interleaved1F1B", "InterleavedZeroBubble", "ZBVZeroBubble"]

SINGLE_STAGE = ("1F1B", "GPipe")
"""Schedules with one stage a process; the others have two."""

SPLIT_BACKWARD = ("InterleavedZeroBubble", "ZBVZeroBubble")
"""Schedules that compute the gradients of inputs and of weights apart."""

FLEX_BLOCK = 128
"""Side of a block of FlexAttention's sparse masks, in tokens."""


class Parallel(Section):
    """Degrees of parallelism; the product of all but `ep` is the number of processes, started with torchrun.

    Attributes:
        dp_replicate: Data parallel, weights replicated (DDP; with `dp_shard`, HSDP).
        dp_shard: Data parallel, weights, gradients and optimizer state sharded (FSDP2).
        tp: Tensor parallel, with sequence parallel between the blocks and the loss on shards of the vocabulary.
        pp: Pipeline parallel.
        cp: Context parallel: a sample's tokens are shared among so many processes.
        ep: Expert parallel, of a mixture of experts: its processes are those of `dp_shard`, `cp` and `tp`.
        schedule: Of the pipeline, under torch's names.
        micro_batches: Of `train.micro_batch` samples each, in one pass through the pipeline; default: all of a step.
        zero: ZeRO stage (Rajbhandari et al., SC 2020) of what `dp_shard` and `cp` shard; default: 3, and 1 with `pp`.
    """

    dp_replicate: Whole = Field(default=1, ge=1)
    dp_shard: Whole = Field(default=1, ge=1)
    tp: Whole = Field(default=1, ge=1)
    pp: Whole = Field(default=1, ge=1)
    cp: Whole = Field(default=1, ge=1)
    ep: Whole = Field(default=1, ge=1)
    schedule: Schedule = "1F1B"
    micro_batches: Whole | None = Field(default=None, ge=1)
    zero: Literal[1, 2, 3] | None = None

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self.dp * self.tp * self.pp * self.cp

    @property
    def dp(self) -> int:
        """Number of processes, or groups of them, that read different samples."""
        return self.dp_replicate * self.dp_shard

    @property
    def stages(self) -> int:
        """Number of pipeline stages, over all processes."""
        return self.pp * (1 if self.pp == 1 or self.schedule in SINGLE_STAGE else 2)

    @property
    def zero_stage(self) -> int:
        """The ZeRO stage, given or not."""
        return self.zero or (3 if self.pp == 1 else 1)

    def micro_batches_of(self, global_batch: int, micro_batch: int) -> int:
        """Micro-batches in one pass through the pipeline; 1 without one."""
        if self.pp == 1:
            return 1
        return self.micro_batches or max(1, global_batch // (micro_batch * self.dp))


def problems(
    parallel: Parallel, model: Model, *, seq_len: int, global_batch: int, micro_batch: int, compiled: bool
) -> Iterator[str]:
    """What keeps a model from being trained on a layout, in words; nothing when it can be.

    Args:
        parallel: The layout.
        model: The model.
        seq_len: Tokens in a sample.
        global_batch: Samples in a step.
        micro_batch: Samples in a forward pass of one process.
        compiled: Whether the blocks are compiled.
    """
    round_size = micro_batch * parallel.micro_batches_of(global_batch, micro_batch) * parallel.dp
    if global_batch % round_size:
        micro = " times parallel.micro_batches" if parallel.pp > 1 else ""
        yield (
            f"global_batch ({global_batch}) must be a multiple of micro_batch ({micro_batch}){micro} times the "
            f"data-parallel processes ({parallel.dp}), which is {round_size}"
        )
    yield from _tensor(parallel, model)
    yield from _context(parallel, seq_len)
    if parallel.pp > 1:
        yield from _pipeline(parallel, model, parallel.micro_batches_of(global_batch, micro_batch), compiled)
    elif parallel.micro_batches is not None or parallel.schedule != "1F1B":
        yield "parallel.micro_batches and parallel.schedule are those of a pipeline, and parallel.pp is 1"
    yield from _experts(parallel, model)
    yield from _zero(parallel)


def _tensor(parallel: Parallel, model: Model) -> Iterator[str]:
    tp = parallel.tp
    if model.family == "gpt2":
        for name in ("tp", "pp", "cp"):
            if getattr(parallel, name) > 1:
                yield f"parallel.{name} does not go with model.family gpt2: use dp_replicate and dp_shard"
        return
    heads = {"n_heads": model.n_heads}
    if model.family != "deepseek_v3":
        heads["n_kv_heads"] = model.n_kv_heads
    for name, count in heads.items():
        if count % tp:
            yield f"model.{name} ({count}) must be a multiple of parallel.tp ({tp}): a head is not split"


def _context(parallel: Parallel, seq_len: int) -> Iterator[str]:
    # With context parallel each process takes one part from the head of a sample and one from its tail.
    parts = parallel.tp * (2 * parallel.cp if parallel.cp > 1 else 1)
    if seq_len % parts:
        formula = "parallel.tp" if parallel.cp == 1 else "parallel.tp * 2 * parallel.cp"
        yield f"seq_len ({seq_len}) must be a multiple of {formula} ({parts}): a sample is cut into so many parts"


def _pipeline(parallel: Parallel, model: Model, micro_batches: int, compiled: bool) -> Iterator[str]:
    stages, schedule = parallel.stages, parallel.schedule
    if model.n_layers % stages:
        yield (
            f"model.n_layers ({model.n_layers}) must be a multiple of the pipeline's stages ({stages}: parallel.pp "
            f"{parallel.pp}, and {stages // parallel.pp} a process with schedule {schedule})"
        )
    if model.tied:
        yield "model.tied does not go with parallel.pp: embedding and head are on different processes"
    if schedule == "1F1B" and micro_batches < stages:
        yield f"schedule 1F1B needs at least as many micro-batches ({micro_batches}) as stages ({stages})"
    rounds = max(1, micro_batches // parallel.pp)
    if schedule in ("Interleaved1F1B", "InterleavedZeroBubble") and micro_batches % rounds:
        yield (
            f"schedule {schedule} runs the micro-batches ({micro_batches}) in {rounds} rounds of about parallel.pp "
            f"({parallel.pp}), and their number must be a multiple of the rounds"
        )
    if compiled and schedule in SPLIT_BACKWARD:
        yield f"compile does not go with schedule {schedule}: torch cannot split a compiled backward pass"


def _experts(parallel: Parallel, model: Model) -> Iterator[str]:
    ep = parallel.ep
    if ep == 1:
        if model.family == "deepseek_v3" and parallel.tp > 1:
            yield (
                f"parallel.tp ({parallel.tp}) with a mixture of experts needs parallel.ep above 1: without, torchtitan "
                "0.3.0 on torch 2.13 loses part of the gradient of the layers before the experts"
            )
        return
    if model.family != "deepseek_v3":
        yield f"parallel.ep ({ep}) needs a mixture of experts: model.family deepseek_v3"
        return
    borrowed = parallel.dp_shard * parallel.cp * parallel.tp
    if borrowed % ep:
        yield f"parallel.ep ({ep}) must divide parallel.dp_shard * cp * tp ({borrowed}), whose processes it takes"
    if model.expert_shape.count % ep:
        yield f"model.experts.count ({model.expert_shape.count}) must be a multiple of parallel.ep ({ep})"


def _zero(parallel: Parallel) -> Iterator[str]:
    if parallel.zero is None:
        return
    if parallel.dp_shard * parallel.cp == 1:
        yield f"parallel.zero ({parallel.zero}) is about what dp_shard or cp shards, and both are 1"
    if parallel.zero == 2 and parallel.pp > 1:
        yield "parallel.zero 2 does not go with parallel.pp: torch reduces gradients once a pass, which is stage 1"


def require_blocks(parallel: Parallel, seq_len: int, device: str) -> None:
    """Refuses samples that FlexAttention cannot cut for context parallelism; a CPU has dense masks instead.

    Raises:
        ConfigError: On CUDA, when a process's part of a sample is no whole number of mask blocks.
    """
    part = parallel.cp * FLEX_BLOCK
    if device == "cuda" and parallel.cp > 1 and seq_len % part:
        raise ConfigError(
            "train.seq_len does not fit train.parallel.cp on CUDA", found=seq_len,
            expected=f"a multiple of {part} ({FLEX_BLOCK} tokens for each of {parallel.cp} processes)",
        )  # fmt: skip
