"""Bytes of the state that an optimizer keeps, and of what its update needs for a moment, of one process.

State is sharded as the parameter that it is of, but for Adafactor's sums over rows and columns, which every process
has whole (see `optimizers.adafactor`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from headwater.train.optimizers.config import Adafactor, AdamW8bit, Lion, Muon, Optimizer, Sgd
from headwater.train.plan.counts import Tensor
from headwater.train.plan.job import Job

FLOAT, HALF, CODE = 4, 2, 1

OFFLOADED_BYTES = 1 << 27
"""As `optimizers.offload.PART_BYTES`, which is not read here: planning loads no torch."""


def of_parameter(optimizer: Optimizer, shape: tuple[int, ...], *, in_block: bool = True) -> float:
    """State of a whole parameter.

    Args:
        optimizer: The recipe's section.
        shape: Of the parameter.
        in_block: Whether it is one of a block, neither embedding, head nor last norm.
    """
    elements, matrix = math.prod(shape), len(shape) >= 2
    if isinstance(optimizer, Sgd):
        return FLOAT * elements if optimizer.momentum else 0
    if isinstance(optimizer, Lion) or (isinstance(optimizer, Muon) and matrix and in_block):
        return FLOAT * elements
    if isinstance(optimizer, Adafactor):
        return FLOAT * (elements / shape[-1] + elements / shape[-2] if matrix else elements)
    if isinstance(optimizer, AdamW8bit) and matrix and shape[-1] % optimizer.block_size == 0:
        return 2 * elements * (CODE + FLOAT / optimizer.block_size)
    return 2 * FLOAT * elements


def of_process(job: Job, rank: int) -> float:
    """State that a pipeline process keeps, wherever it lies.

    Args:
        job: The training and its layout.
        rank: Of the pipeline, from 0.
    """
    whole = isinstance(job.optimizer, Adafactor)
    return sum(
        number * of_parameter(job.optimizer, tensor.shape, in_block=in_block)
        / (1 if whole else _parts(job, tensor))
        for tensor, number, in_block in _tensors(job, rank)
    )  # fmt: skip


def of_update(job: Job, rank: int) -> float:
    """What lies on the device only while an optimizer step goes on, at most.

    A sharded matrix that Muon or Adafactor looks at is gathered, one at a time; Lion makes all its updates at once;
    state in host memory comes some parameters' at a time.
    """
    optimizer, most, total, largest = job.optimizer, 0.0, 0.0, 0.0
    if not job.offload and not isinstance(optimizer, Muon | Adafactor | Lion):
        return most
    for tensor, number, in_block in _tensors(job, rank):
        parts = _parts(job, tensor)
        own = tensor.numel / parts
        total, largest = total + number * own, max(largest, own)
        if isinstance(optimizer, Muon) and len(tensor.shape) >= 2 and in_block:
            # The momentum ahead and the update in float32; Newton-Schulz in bfloat16, before and after an iteration.
            held = tensor.numel if parts > 1 and tensor.part != "experts" else own
            most = max(most, held * (2 * FLOAT + 2 * HALF))
        elif isinstance(optimizer, Adafactor):  # weight and gradient where they are gathered; the second moment
            most = max(most, tensor.numel * FLOAT * (3 if parts > 1 else 1))
    if isinstance(optimizer, Lion):
        most = FLOAT * total
    if job.offload:
        most = max(most, of_process(job, rank) / total * max(largest, min(total, OFFLOADED_BYTES / FLOAT)))
    return most


@dataclass(frozen=True)
class Orthogonalised:
    """What Muon computes and gathers in a step on one process: its part of a matrix is not enough for the update.

    Attributes:
        flops: Of Newton-Schulz: an iteration multiplies a matrix with r rows and c columns, r the fewer, with its
            transpose, the square of r that this gives with itself, and that with the matrix.
        gathered: Elements of matrices of which a process has a part.
    """

    flops: float = 0.0
    gathered: float = 0.0


def orthogonalised(job: Job, rank: int) -> Orthogonalised:
    """What Muon computes and gathers on a pipeline process; nothing under another optimizer."""
    if not isinstance(job.optimizer, Muon):
        return Orthogonalised()
    flops = gathered = 0.0
    for tensor, number, in_block in _tensors(job, rank):
        if not in_block or len(tensor.shape) < 2:
            continue
        few, many = sorted(tensor.shape[-2:])
        parts = _parts(job, tensor)
        alone = parts == 1 or tensor.part == "experts"
        matrices = number * math.prod(tensor.shape[:-2]) / (parts if alone else 1)
        flops += matrices * job.optimizer.iterations * (4.0 * few * few * many + 2.0 * few**3)
        gathered += 0.0 if alone else number * tensor.numel
    return Orthogonalised(flops, gathered)


def _tensors(job: Job, rank: int) -> Iterator[tuple[Tensor, int, bool]]:
    """The parameters of a pipeline process, how many there are of each kind, and whether they are of a block."""
    for layer, number in job.stages[rank].items():
        yield from ((tensor, number, True) for tensor in layer.tensors)
    shape = job.shape
    if rank == 0:
        yield Tensor("matrices", (shape.vocab_size, shape.dim)), 1, False
        if shape.family == "gpt2":
            yield Tensor("matrices", (shape.max_seq_len, shape.dim)), 1, False
    if rank == job.last_rank:
        if not shape.tied:
            yield Tensor("matrices", (shape.vocab_size, shape.dim)), 1, False
        yield Tensor("whole", (shape.dim,)), 1, False


def _parts(job: Job, tensor: Tensor) -> int:
    """Into how many a parameter is cut."""
    degrees = job.degrees
    cut = {"matrices": degrees.tp, "whole": 1, "experts": degrees.ep}[tensor.part]
    if not degrees.zero:
        return cut
    return cut * (degrees.expert_shards if tensor.part == "experts" else degrees.shards)
