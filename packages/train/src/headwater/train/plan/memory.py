"""Memory of one GPU by component.

Weights, gradients and optimizer state are float32, with Adam's two moments 16 bytes a parameter, divided as ZeRO does
(Rajbhandari et al., 2020, arXiv:1910.02054). Activations are counted tensor by tensor after Korthikanti et al., 2022
(arXiv:2205.05198), for this project's blocks: RMSNorm, SwiGLU or GELU, attention that keeps no scores. Figures are of
the process that needs most; in a pipeline that is looked for among all stages.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import Literal

from headwater.train.plan import optimizer_state
from headwater.train.plan.counts import Layer
from headwater.train.plan.job import Job

FLOAT, HALF = 4, 2

Kind = Literal["allocated", "reserved", "device"]

CONTEXT_BYTES = 1.5 * 2**30
"""What is there before the first tensor: the CUDA context and the libraries. 1,573 MiB were seen on an A100
(BigScience, "chronicles-prequel.md")."""

GROUP_BYTES = 0.5 * 2**30
"""NCCL's buffers for a group of processes. A connection has 9.6 MB, for three protocols (NCCL 2, `src/init.cc`); a ring
has one for each of up to 24 channels, a node of a tree up to three."""

FRAGMENTS = 0.12
"""Share of the tensors' bytes that torch's allocator holds besides: blocks that are partly used, and what is not
counted here. Chosen on the calibration half of the published runs, whose figures are of what the allocator held."""

PLAIN_LOGITS, PARALLEL_LOGITS, IN_PLACE_LOGITS = 3 * FLOAT, 4 * FLOAT, FLOAT
"""Bytes of a logit at the peak of cross-entropy, beyond those in the products' precision, which the first two have
freed by then. Plain, in the backward pass: logarithms, their gradient, and the logits'. Under tensor parallelism
torch's `loss_parallel` has four float32 tensors: logarithms, gradient, their exponential, its sum with the gradient.
Megatron-LM overwrites one. A compiled one has none: the logits and their gradient lie in the products' precision."""

NF4_BYTES = 0.5 + 4 / 64 / 32 + 1 / 64
"""Bytes of a weight in 4-bit NormalFloat: half a byte, an 8-bit constant for 64 weights, and a float32 one for 256
blocks' constants (Dettmers et al., 2023, section 3, double quantization), rounded up."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one GPU, by what they hold.

    Attributes:
        parameters: Weights, as they lie between two steps.
        gradients: As they lie between the backward pass and the update.
        optimizer: Its state, less what is offloaded, and what an update needs beyond what a pass did.
        activations: What the backward pass needs of the blocks, over all micro-batches in flight.
        logits: Logits, their logarithms and their gradient, and input and output of the last norm.
        communication: Weights gathered for a pass and gradients before they are reduced.
        reserve: CUDA context, libraries, NCCL, and blocks of the allocator that are partly used.
    """

    parameters: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    communication: float
    reserve: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(getattr(self, one.name) for one in fields(self))

    @property
    def states(self) -> float:
        """What does not depend on the batch: weights, gradients and optimizer state."""
        return self.parameters + self.gradients + self.optimizer


def memory_per_gpu(job: Job, *, kind: Kind = "device") -> Memory:
    """The memory of the process that needs most, by component.

    Args:
        job: The training and its layout.
        kind: Whether to count the "allocated" tensors alone, all that torch's allocator "reserved", or all that the
            "device" has in use, with the CUDA context and NCCL.

    Returns:
        Bytes of each component; `Memory.total` is what has to fit.
    """
    return max((_of_process(job, rank, kind) for rank in job.distinct_ranks), key=lambda memory: memory.total)


def local_parameters(job: Job, rank: int) -> tuple[float, float]:
    """Parameters of a pipeline process after tensor and expert parallelism cut them, before FSDP does.

    Args:
        job: The training and its layout.
        rank: Of the pipeline, from 0.

    Returns:
        Those outside routed experts, and those in them.
    """
    degrees, model, layers = job.degrees, job.counts, job.stages[rank]
    dense = sum(number * (layer.matrices / degrees.tp + layer.whole) for layer, number in layers.items())
    if rank == 0:
        dense += model.embedding / degrees.tp
    if rank == job.last_rank:
        dense += model.head / degrees.tp + model.final
    return dense, sum(number * layer.experts for layer, number in layers.items()) / degrees.ep


def shared_out(job: Job, dense: float, experts: float = 0.0) -> float:
    """What FSDP leaves a process of what `local_parameters` has."""
    degrees = job.degrees
    return dense / degrees.shards + experts / degrees.expert_shards if degrees.zero else dense + experts


def _of_process(job: Job, rank: int, kind: Kind) -> Memory:
    dense, experts = local_parameters(job, rank)
    sharded = shared_out(job, dense, experts)
    if not job.adapters:
        held = HALF if job.pure else FLOAT
        parameters, gradients, trained = sharded * held, sharded * held, dense + experts
    else:
        trained = adapter_parameters(job, rank)
        frozen = sharded * HALF - (_quantized(job, rank) * (HALF - NF4_BYTES) if job.method == "qlora" else 0.0)
        adapted = shared_out(job, trained)
        parameters, gradients = frozen + FLOAT * adapted, FLOAT * adapted
    activations, logits = activation_bytes(job, rank), _logits(job, rank)
    communication = _communication(job, rank, dense, experts, trained)
    beyond = optimizer_state.of_update(job, rank) - (activations + logits + communication)
    optimizer = (0.0 if job.offload else _state(job, rank)) + max(0.0, beyond)
    tensors = parameters + gradients + optimizer + activations + logits + communication
    reserve = (0.0 if kind == "allocated" else FRAGMENTS * tensors) + (_outside(job) if kind == "device" else 0.0)
    return Memory(parameters, gradients, optimizer, activations, logits, communication, reserve)


def optimizer_bytes(job: Job) -> float:
    """Optimizer state of the process that has most, on the device or in host memory."""
    return max(_state(job, rank) for rank in job.distinct_ranks)


def _state(job: Job, rank: int) -> float:
    """Optimizer state of a pipeline process."""
    if job.adapters:
        return 2 * FLOAT * shared_out(job, adapter_parameters(job, rank))
    if not job.pure:
        return optimizer_state.of_process(job, rank)
    return 2 * HALF * shared_out(job, *local_parameters(job, rank))


def _quantized(job: Job, rank: int) -> float:
    """Weights that QLoRA keeps in 4 bits: the linear layers of the blocks, of what a process holds."""
    degrees, layers = job.degrees, job.stages[rank]
    dense = sum(number * layer.matrices for layer, number in layers.items()) / degrees.tp
    experts = sum(number * layer.experts for layer, number in layers.items()) / degrees.ep
    return shared_out(job, dense, experts)


def adapter_parameters(job: Job, rank: int | None = None) -> float:
    """Parameters of LoRA adapters on every linear layer of the blocks: rank times the sum of both widths.

    Args:
        job: The training; `lora_rank` is the width of an adapter.
        rank: Only those of a pipeline process, cut by tensor parallelism; none: of the whole model.
    """
    dim = job.shape.dim
    layers = Counter(job.counts.layers) if rank is None else job.stages[rank]
    widths = sum(
        number * ((dim + layer.q_width) + (2 * dim + layer.kv_width) + (layer.value_width + dim)
        + (3 if layer.gated else 2) * (dim + layer.ffn_width))
        for layer, number in layers.items()
    )  # fmt: skip
    return job.lora_rank * widths / (1 if rank is None else job.degrees.tp)


def activation_bytes(job: Job, rank: int) -> float:
    """What the blocks of a pipeline process keep for the backward pass, over all micro-batches in flight.

    Under `full` checkpointing that is each block's input. The one block that is computed again counts as far as it is
    larger than the logits, which are gone by then.
    """
    layers = job.stages[rank]
    if not layers:
        return 0.0
    tokens = job.tokens / job.degrees.tp
    kept = sum(number * _kept(job, layer) for layer, number in layers.items()) * tokens
    if job.degrees.pp > 1:  # each stage's output waits for its gradient
        kept += job.degrees.virtual * job.product_bytes * job.shape.dim * _whole(job) * tokens
    again = 0.0
    if job.checkpointing != "none":
        again = max(_everything(job, layer) for layer in layers) * tokens
    return kept * _in_flight(job, rank) + max(0.0, again - _logits(job, rank))


def _outside(job: Job) -> float:
    """What the device holds besides torch's allocator: the context, and buffers for each kind of group and for all."""
    degrees = job.degrees
    kinds = (degrees.tp, degrees.cp, degrees.dp_shard, degrees.dp_replicate, degrees.pp, degrees.ep, degrees.processes)
    return CONTEXT_BYTES + GROUP_BYTES * sum(kind > 1 for kind in kinds)


def _everything(job: Job, layer: Layer) -> float:
    """Bytes a token that a block keeps when nothing is computed again, times the degree of tensor parallelism.

    Inputs of both norms and of the products after them; queries, keys, values and what attention gives (with its
    logarithms of sums); the hidden layer: input and output of the gate, what it gates, and their product. Torch keeps
    the products' inputs as they were gathered for tensor parallelism; Megatron-LM gathers them again.
    """
    width, dim, whole = job.product_bytes, job.shape.dim, _whole(job)
    gathered = whole if job.kernels == "fused" else job.degrees.tp
    hidden = (4 if layer.gated else 2) * layer.ffn_width
    if layer.gated and job.kernels != "eager":
        hidden -= layer.ffn_width  # a fused gate keeps its inputs and its product
    kept = width * (2 * dim * whole + 2 * dim * gathered + layer.q_width + layer.kv_width + layer.value_width + hidden)
    kept += FLOAT * job.shape.n_heads
    if job.attention == "materialised":
        kept += 5 * job.shape.n_heads * job.seq_len
    return kept


def _kept(job: Job, layer: Layer) -> float:
    """Bytes a token that a block keeps under the job's checkpointing, as `_everything`."""
    width, dim = job.product_bytes, job.shape.dim * _whole(job)
    if job.checkpointing == "full":
        return width * dim
    if job.checkpointing == "none":
        return _everything(job, layer)
    # The block's input, what attention gives, and every second product: queries, keys and values; one of the two
    # hidden products; the block's own output, which a compiled backward pass knows that it does not need.
    ends = (2 if job.kernels == "eager" else 1) * dim
    kept = width * (ends + layer.q_width + layer.kv_width + layer.value_width + layer.ffn_width)
    return kept + FLOAT * job.shape.n_heads


def _whole(job: Job) -> int:
    """How much more of the residual stream a process has than of the heads."""
    return 1 if job.sequence_parallel else job.degrees.tp


def _in_flight(job: Job, rank: int) -> float:
    """Micro-batches whose activations a pipeline process holds at once, as a share of its own blocks' stages.

    1F1B holds as many as there are stages behind (Narayanan et al., 2021, arXiv:2104.04473, section 2.2); interleaved
    schedules hold (pp - 1) / (pp virtual) more; GPipe and LoopedBFS hold all of a pass.
    """
    degrees = job.degrees
    if degrees.pp == 1:
        return 1.0
    if degrees.schedule in ("GPipe", "LoopedBFS"):
        return job.micro_batches
    if degrees.virtual == 1:
        return min(job.micro_batches, degrees.pp - rank)
    return min(job.micro_batches, degrees.pp * (1 + (degrees.pp - 1) / (degrees.pp * degrees.virtual)))


def _logits(job: Job, rank: int) -> float:
    if rank != job.last_rank:
        return 0.0
    tp, width = job.degrees.tp, job.product_bytes
    words = job.tokens * job.shape.vocab_size / tp
    if job.loss == "fused":
        each = 2 * width
    elif job.loss == "in_place":
        each = width + IN_PLACE_LOGITS
    else:
        each = PARALLEL_LOGITS if tp > 1 else PLAIN_LOGITS
    stream = width * job.tokens * job.shape.dim / tp
    return words * each + stream * (_whole(job) + (_whole(job) if job.kernels == "fused" else tp))


def _communication(job: Job, rank: int, dense: float, experts: float, trained: float) -> float:
    """Weights that FSDP gathers, and gradients of them that are not reduced yet.

    ZeRO 3 has two blocks at once, one that works and the next; below it the whole of the process's part, and under
    ZeRO 1 with several micro-batches its gradients too, summed in float32.
    """
    degrees, width = job.degrees, job.product_bytes
    if degrees.zero == 0 or degrees.shards * degrees.dp_replicate == 1:
        # One process, or replicas: products take copies in their precision.
        whole = (dense + experts) * width
        return (whole if job.precision != "float32" and not job.pure and not job.adapters else 0.0) + (
            FLOAT * trained if degrees.dp > 1 and degrees.shards == 1 else 0.0
        )
    layers = job.stages[rank]
    block = max((_block(job, layer) for layer in layers), default=0.0)
    outer = job.counts.head_products / degrees.tp
    if degrees.zero == 3:
        gathered = width * (2 * block + (outer if rank == job.last_rank else 0.0))
        reduced = 0.0 if job.adapters else (width + FLOAT) * block
        return gathered + reduced
    gathered = width * (dense + experts)
    if degrees.zero == 1 and job.micro_batches > 1:
        return gathered + job.gradient_bytes * trained
    return gathered + (width + FLOAT) * block


def _block(job: Job, layer: Layer) -> float:
    return layer.matrices / job.degrees.tp + layer.whole + layer.experts / job.degrees.ep
