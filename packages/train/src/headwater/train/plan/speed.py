"""Time of a training step: products, what lies between them, communication, and the pipeline's bubble.

A block's time is reckoned for one micro-batch, then summed over a pipeline process, its micro-batches and its bubble.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from headwater.train.plan import optimizer_state
from headwater.train.plan.clusters import Gpu
from headwater.train.plan.collectives import exchange_seconds, gather_seconds, group_of, send_seconds
from headwater.train.plan.counts import Layer, flops_per_token
from headwater.train.plan.efficiency import FITTED, Efficiency
from headwater.train.plan.job import SCHEDULES_WITHOUT_BUBBLE, Job
from headwater.train.plan.memory import local_parameters, shared_out

BACKWARD_PRODUCTS, BACKWARD_ATTENTION = 2.0, 2.5
"""Work of the backward pass against the forward pass: two products for one, and fused attention's five for two."""

OPERATIONS = 30
"""Operations that a block launches in its forward pass; twice as many in the backward pass."""


HOST_BANDWIDTH = 20e9
"""Bytes a second between a GPU and page-locked memory of its host, in one direction: PCIe 4.0 x16 has 32e9, less what
its packets take. Assumed; nothing was measured."""


@dataclass(frozen=True)
class Speed:
    """Time of one step, in seconds, by what takes it; of the slowest pipeline process.

    Attributes:
        products: Matrix products, of linear layers and the head.
        attention: The attention product.
        between: Operations between products, bound by memory or by launches.
        tensor, context, expert, data: Communication of each kind that nothing hides.
        pipeline: Sending between stages.
        bubble: Waiting in the pipeline.
        update: Optimizer, gradient norm.
        straggling: Waiting for the slowest node.
        tokens_per_second_per_gpu: Of the whole.
        mfu: Model FLOPs utilization by PaLM's definition, of the bfloat16 peak, 0 to 1.
    """

    products: float
    attention: float
    between: float
    tensor: float
    context: float
    expert: float
    data: float
    pipeline: float
    bubble: float
    update: float
    straggling: float
    tokens_per_second_per_gpu: float
    mfu: float

    @property
    def step_seconds(self) -> float:
        """Time of the step."""
        return (
            self.products + self.attention + self.between + self.tensor + self.context + self.expert + self.data
            + self.pipeline + self.bubble + self.update + self.straggling
        )  # fmt: skip


@dataclass(frozen=True)
class _Pass:
    """Seconds of one micro-batch's forward or backward pass through something."""

    products: float = 0.0
    attention: float = 0.0
    between: float = 0.0
    tensor: float = 0.0
    context: float = 0.0
    expert: float = 0.0

    def times(self, factor: float) -> _Pass:
        return _Pass(*(factor * value for value in self.values))

    def plus(self, other: _Pass) -> _Pass:
        return _Pass(*(a + b for a, b in zip(self.values, other.values, strict=True)))

    @property
    def values(self) -> tuple[float, ...]:
        return self.products, self.attention, self.between, self.tensor, self.context, self.expert

    @property
    def total(self) -> float:
        return sum(self.values)


def step_speed(job: Job, gpu: Gpu, fitted: Efficiency = FITTED) -> Speed:
    """Predicts the time of a step.

    Args:
        job: The training and its layout.
        gpu: What one process has.
        fitted: The fitted numbers.
    """
    model = _Model(job, gpu, fitted)
    return max((model.process(rank) for rank in job.distinct_ranks), key=lambda speed: speed.step_seconds)


class _Model:
    def __init__(self, job: Job, gpu: Gpu, fitted: Efficiency) -> None:
        self.job, self.gpu, self.fitted = job, gpu, fitted
        self.generation = gpu.generation
        degrees = job.degrees
        # Inside to outside: tensor, context, sharded, replicated, pipeline.
        self.tensor = group_of(degrees.tp, 1, gpu.node_gpus)
        self.context = group_of(degrees.cp, degrees.tp, gpu.node_gpus)
        self.shard = group_of(degrees.shards, degrees.tp, gpu.node_gpus)
        self.replica = group_of(degrees.dp_replicate, degrees.tp * degrees.shards, gpu.node_gpus)
        self.experts = group_of(degrees.ep, 1, gpu.node_gpus)
        power = fitted.power_limited if gpu.name == "h100-500w" else 1.0
        self.bf16 = gpu.peak_bf16 * fitted.product[self.generation] * power
        fp8 = job.precision == "float8" and gpu.peak_fp8 > 0
        self.linear = gpu.peak_fp8 * fitted.product_fp8[self.generation] * power if fp8 else self.bf16
        self.attend = gpu.peak_bf16 * fitted.attention[self.generation] * power
        self.bandwidth = gpu.memory_bandwidth * fitted.memory

    def process(self, rank: int) -> Speed:
        """The step of one pipeline process."""
        job, degrees = self.job, self.job.degrees
        layers = job.stages[rank]
        forward, backward, data = _Pass(), _Pass(), 0.0
        for layer, number in layers.items():
            ahead, back, exposed = self.block(layer)
            forward, backward = forward.plus(ahead.times(number)), backward.plus(back.times(number))
            data += exposed * number
        if rank == job.last_rank:
            ahead = self.head()
            back = ahead.times(1.0 if job.adapters else BACKWARD_PRODUCTS)
            forward, backward = forward.plus(ahead), backward.plus(back)
        data += self.outer(rank)
        one = forward.plus(backward)
        count = job.micro_batches
        all_of_them = one.times(count)
        data_seconds = data * (count if degrees.zero == 3 else 0) + self.once_a_step(rank, one, data)
        bubble, sending = self.pipeline(one)
        update = self.update(rank)
        busy = all_of_them.total + data_seconds + sending + bubble + update
        nodes = max(1.0, degrees.processes / self.gpu.node_gpus)
        straggling = busy * self.fitted.straggling * _log2(nodes)
        tokens = job.global_batch * job.seq_len / degrees.processes
        rate = tokens / (busy + straggling)
        # Frozen weights have no gradient: four operations for six.
        counted = flops_per_token(job.shape, job.seq_len) * (2 / 3 if job.adapters else 1.0)
        used = rate * counted / self.gpu.peak_bf16
        return Speed(
            products=all_of_them.products, attention=all_of_them.attention, between=all_of_them.between,
            tensor=all_of_them.tensor, context=all_of_them.context, expert=all_of_them.expert, data=data_seconds,
            pipeline=sending, bubble=bubble, update=update, straggling=straggling, tokens_per_second_per_gpu=rate,
            mfu=used,
        )  # fmt: skip

    def block(self, layer: Layer) -> tuple[_Pass, _Pass, float]:
        """Forward and backward pass of a block, and the time that gathering its weights adds to both."""
        job, degrees = self.job, self.job.degrees
        forward = self.forward(layer)
        products = 1.0 + self.adapter_share(layer) if job.adapters else BACKWARD_PRODUCTS
        backward = _Pass(
            forward.products * products, forward.attention * BACKWARD_ATTENTION, forward.between * 2,
            self.tensor_seconds(backward=True), forward.context * 2, forward.expert,
        )  # fmt: skip
        backward = backward.plus(self.again(forward))
        if degrees.zero != 3 or degrees.shards == 1:
            return forward, backward, 0.0
        size = self.block_bytes(layer)
        gather = gather_seconds(size, self.shard, self.gpu, self.fitted)
        reduce = 0.0 if job.adapters else self.reduce_seconds(size)
        exposed = self.exposed(gather, forward.total) + self.exposed(gather + reduce, backward.total)
        return forward, backward, exposed

    def forward(self, layer: Layer) -> _Pass:
        """One block, one micro-batch."""
        job, degrees, tokens = self.job, self.job.degrees, self.job.tokens
        tp, dim = degrees.tp, job.shape.dim
        dense = 2.0 * tokens * layer.matrices / tp / self.linear + self.stream(tokens, layer, tp)
        routed = 2.0 * tokens * layer.active_experts / tp / (self.linear * self.fitted.experts)
        span = job.seq_len / 2  # what a causal mask leaves
        attention = 2.0 * tokens * span * (layer.q_width + layer.value_width) / tp / self.attend
        if degrees.cp > 1:
            attention /= self.fitted.context
        if job.attention == "flash1":
            attention /= self.fitted.flash1
        elif job.attention == "materialised":
            scores = 2.0 * tokens * job.seq_len * job.shape.n_heads / tp
            attention += scores * self.fitted.score_passes / self.bandwidth
        return _Pass(
            products=dense + routed, attention=attention, between=self.between(layer, tokens),
            tensor=self.tensor_seconds(), context=self.context_seconds(layer),
            expert=self.expert_seconds(layer, tokens * dim),
        )  # fmt: skip

    def stream(self, tokens: int, layer: Layer, tp: int) -> float:
        """Reading and writing a product's operands, which small products do not hide."""
        width = self.job.product_bytes
        outputs = layer.q_width + layer.kv_width + 2 * self.job.shape.dim + 2 * layer.ffn_width
        return width * (layer.matrices / tp + tokens * outputs / tp) / self.bandwidth

    def between(self, layer: Layer, tokens: int) -> float:
        """Norms, rotation, residual sums and the gate: bound by memory, or by the processor that launches them."""
        job, fitted = self.job, self.fitted
        dim, tp = job.shape.dim, job.degrees.tp
        whole = 1 if job.sequence_parallel else tp
        moved = job.product_bytes * tokens / tp * (
            16 * dim * whole + 4 * (layer.q_width + layer.kv_width) + (6 if layer.gated else 4) * layer.ffn_width
        )  # fmt: skip
        if job.precision == "float8":
            moved += 3 * tokens / tp * (4 * dim + layer.ffn_width)
        if job.method == "qlora":  # each use writes the weights out in bfloat16
            moved += 2.5 * layer.products / tp / fitted.passes[job.kernels]
        launched = OPERATIONS * fitted.launch_seconds[job.kernels] if self.generation != "cpu" else 0.0
        return max(moved * fitted.passes[job.kernels] / self.bandwidth, launched)

    def tensor_seconds(self, *, backward: bool = False) -> float:
        """Two gathers and two scatters of the residual stream, or two sums of it over all, less what is hidden.

        For the gradients of weights the backward pass gathers twice more what sequence parallelism cut.
        """
        job = self.job
        if self.tensor.size == 1:
            return 0.0
        times = 6 if backward and job.sequence_parallel and not job.adapters else 4
        size = job.product_bytes * job.tokens * job.shape.dim
        hides = job.tp_overlap == "all" or (backward and job.tp_overlap == "backward")
        moved = times * gather_seconds(size, self.tensor, self.gpu, self.fitted)
        return moved * (1 - self.fitted.tp_hidden if hides else 1)

    def context_seconds(self, layer: Layer) -> float:
        """Gathering keys and values of the whole sample."""
        job = self.job
        size = job.product_bytes * job.micro_batch * job.seq_len * layer.kv_width / job.degrees.tp
        return gather_seconds(size, self.context, self.gpu, self.fitted)

    def expert_seconds(self, layer: Layer, size: float) -> float:
        """Sending tokens to their experts and back."""
        if not layer.experts or self.experts.size == 1:
            return 0.0
        sent = self.job.product_bytes * size / self.job.degrees.tp
        chosen = self.job.shape.experts.top_k if self.job.shape.experts else 1
        copies = chosen
        if self.job.kernels == "fused":  # one copy a node, to at most four nodes (DeepSeek-V3, section 3.2.2)
            copies = min(chosen, 4, max(1, self.experts.size // self.experts.per_node))
        moved = 2 * exchange_seconds(sent * copies, self.experts, self.gpu, self.fitted)
        return moved * (1 - self.fitted.expert_hidden if self.job.kernels == "fused" else 1)

    def again(self, forward: _Pass) -> _Pass:
        """What the backward pass computes again."""
        job = self.job
        if job.recomputed is not None:
            return forward.times(job.recomputed)
        if job.checkpointing == "full":
            return forward
        if job.checkpointing == "none":
            return _Pass()
        if job.attention == "materialised":  # Korthikanti et al.: the attention core alone
            return _Pass(attention=forward.attention)
        return _Pass(products=forward.products * 0.4, between=forward.between)

    def head(self) -> _Pass:
        """The head and cross-entropy, forward, of one micro-batch."""
        job = self.job
        tp, tokens = job.degrees.tp, job.tokens
        products = 2.0 * tokens * job.counts.head_products / tp / self.bf16
        moved = tokens * job.shape.vocab_size / tp * (job.product_bytes + 3 * 4)
        return _Pass(products=products, between=moved / self.bandwidth)

    def adapter_share(self, layer: Layer) -> float:
        """Products of adapters, forward and backward, against those of the block."""
        job = self.job
        widths = 8 * job.shape.dim + 3 * layer.ffn_width + layer.q_width + layer.kv_width
        return 3.0 * job.lora_rank * widths / max(1, layer.products)

    def block_bytes(self, layer: Layer) -> float:
        """Bytes of a block's weights that one process gathers."""
        degrees = self.job.degrees
        return self.job.product_bytes * (
            layer.matrices / degrees.tp
            + layer.whole
            + layer.experts / degrees.ep / (degrees.tp if degrees.ep == 1 else 1)
        )

    def outer(self, rank: int) -> float:
        """Gathering embedding and head, and reducing their gradients: the first and the last thing of a pass, which
        nothing hides.
        """
        degrees, model = self.job.degrees, self.job.counts
        if degrees.zero != 3 or degrees.shards == 1:
            return 0.0
        words = (model.embedding if rank == 0 else 0) + (model.head if rank == self.job.last_rank else 0)
        size = self.job.product_bytes * words / degrees.tp
        gathered = gather_seconds(size, self.shard, self.gpu, self.fitted)
        return gathered + (0.0 if self.job.adapters else self.reduce_seconds(size))

    def reduce_seconds(self, size: float) -> float:
        """Reducing the gradients of weights that have `size` bytes in a product, over shards and replicas."""
        wide = size * self.job.reduce_bytes / self.job.product_bytes
        scattered = gather_seconds(wide, self.shard, self.gpu, self.fitted)
        replicas = 2 * gather_seconds(wide / self.shard.size, self.replica, self.gpu, self.fitted)
        return scattered + replicas

    def exposed(self, communication: float, work: float) -> float:
        """Time that communication adds to the work that runs beside it."""
        if not self.job.data_overlap:
            return communication
        return max(0.0, communication - work) + self.fitted.contention * min(communication, work)

    def once_a_step(self, rank: int, one: _Pass, gathered: float) -> float:
        """Gathering and reducing that happen once a step: below ZeRO 3, and for replicas. Of adapters it is little."""
        job, degrees = self.job, self.job.degrees
        if degrees.dp * degrees.cp == 1:
            return 0.0
        if degrees.zero == 3 and degrees.shards > 1:
            return 0.0
        dense, experts = local_parameters(job, rank)
        size = job.product_bytes * (dense + (experts if degrees.expert_shards > 1 else 0))
        if degrees.zero == 0 or degrees.shards == 1:
            everyone = group_of(degrees.dp * degrees.cp, degrees.tp, self.gpu.node_gpus)
            reduced = 2 * gather_seconds(size * job.reduce_bytes / job.product_bytes, everyone, self.gpu, self.fitted)
            moved = 0.0
        else:
            reduced = self.reduce_seconds(size)
            moved = gather_seconds(size, self.shard, self.gpu, self.fitted)
        moved += 0.0 if job.adapters else reduced
        passes = job.micro_batches if degrees.zero == 2 else 1
        return self.exposed(moved, one.total) * passes

    def pipeline(self, one: _Pass) -> tuple[float, float]:
        """Seconds of waiting and of sending.

        The bubble is (pp - 1) / virtual micro-batches long (Narayanan et al., 2021, section 2.2); zero-bubble schedules
        fill it but for the gradients of inputs, a third (Qi et al., 2024, arXiv:2401.10241).
        """
        job, degrees = self.job, self.job.degrees
        if degrees.pp == 1:
            return 0.0, 0.0
        share = 1 / 3 if degrees.schedule in SCHEDULES_WITHOUT_BUBBLE else 1.0
        bubble = share * (degrees.pp - 1) / degrees.virtual * one.total
        size = job.product_bytes * job.tokens * job.shape.dim / degrees.tp
        stride = degrees.tp * degrees.cp * degrees.dp
        sent = 2 * degrees.virtual * send_seconds(size, stride, self.gpu, self.fitted)
        return bubble, sent * job.micro_batches

    def update(self, rank: int) -> float:
        """The optimizer reads and writes weights and its state, and reads gradients; so does the norm."""
        job = self.job
        if job.adapters:
            return 0.0
        mine = shared_out(job, *local_parameters(job, rank))
        state = optimizer_state.of_process(job, rank)
        seconds = (16 * mine + 2 * state) / self.bandwidth + (2 * state / HOST_BANDWIDTH if job.offload else 0.0)
        work = optimizer_state.orthogonalised(job, rank)
        gathered = gather_seconds(4 * work.gathered, self.shard, self.gpu, self.fitted) if work.gathered else 0.0
        return seconds + work.flops / self.bf16 + gathered


def _log2(value: float) -> float:
    return math.log2(value) if value > 1 else 0.0
