"""Memory of one GPU by component.

Weights, gradients and optimizer state are float32, with Adam's two moments 16 bytes a parameter, divided as ZeRO does
(Rajbhandari et al., 2020, arXiv:1910.02054). Activations are counted tensor by tensor after Korthikanti et al., 2022
(arXiv:2205.05198), for this project's blocks: RMSNorm, SwiGLU or GELU, attention that keeps no scores. Figures are of
the process that needs most; in a pipeline that is looked for among all stages.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields

from headwater.train.plan import optimizer_state
from headwater.train.plan.counts import Layer
from headwater.train.plan.job import Job

FLOAT, HALF = 4, 2

RESERVE_BYTES = 1.5 * 2**30
"""What is there before the first tensor: the CUDA context, the libraries, and NCCL's channels."""

FRAGMENTS = 0.12
"""Share of the tensors' bytes that torch's allocator holds besides: blocks that are partly used, and what is not
counted here. Chosen on the calibration half of the published runs, whose figures are of what the allocator held."""

LOGIT_COPIES = 2
"""Float32 copies of the logits at the peak, in cross-entropy: their logarithms and their gradient. A compiled one has
none: the logits and their gradient lie in the products' precision."""

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
        logits: Logits, their logarithms and their gradient.
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


def memory_per_gpu(job: Job, *, on_gpu: bool = True) -> Memory:
    """The memory of the process that needs most, by component.

    Args:
        job: The training and its layout.
        on_gpu: Whether a CUDA context and the allocator's reserve belong to it.

    Returns:
        Bytes of each component; `Memory.total` is what has to fit.
    """
    return max((_of_process(job, rank, on_gpu) for rank in job.distinct_ranks), key=lambda memory: memory.total)


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


def _of_process(job: Job, rank: int, on_gpu: bool) -> Memory:
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
    reserve = RESERVE_BYTES + FRAGMENTS * tensors if on_gpu else 0.0
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
    again = 0.0
    if job.checkpointing != "none":
        again = max(_everything(job, layer) for layer in layers) * tokens
    return kept * _in_flight(job, rank) + max(0.0, again - _logits(job, rank))


def _everything(job: Job, layer: Layer) -> float:
    """Bytes a token that a block keeps when nothing is computed again.

    Inputs of both norms and of the products after them; queries, keys, values and what attention gives (with its
    logarithms of sums); the hidden layer: input and output of the gate, what it gates, and their product.
    """
    width, dim = job.product_bytes, job.shape.dim
    hidden = (4 if layer.gated else 2) * layer.ffn_width
    if layer.gated and job.kernels != "eager":
        hidden -= layer.ffn_width  # a fused gate keeps its inputs and its product
    kept = width * (4 * dim + layer.q_width + layer.kv_width + layer.value_width + hidden)
    kept += FLOAT * job.shape.n_heads
    if job.attention == "materialised":
        kept += 5 * job.shape.n_heads * job.seq_len
    return kept


def _kept(job: Job, layer: Layer) -> float:
    """Bytes a token that a block keeps under the job's checkpointing."""
    width, dim = job.product_bytes, job.shape.dim
    if job.checkpointing == "full":
        return width * dim
    if job.checkpointing == "none":
        return _everything(job, layer)
    # The block's input, what attention gives, and every second product: queries, keys and values; one of the two
    # hidden products; the block's own output.
    hidden = layer.ffn_width
    return width * (2 * dim + layer.q_width + layer.kv_width + layer.value_width + hidden) + FLOAT * job.shape.n_heads


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
    words = job.tokens * job.shape.vocab_size / job.degrees.tp
    return words * (2 * job.product_bytes if job.fused_loss else job.product_bytes + LOGIT_COPIES * FLOAT)


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
        return gathered + FLOAT * trained
    return gathered + (width + FLOAT) * block


def _block(job: Job, layer: Layer) -> float:
    return layer.matrices / job.degrees.tp + layer.whole + layer.experts / job.degrees.ep
