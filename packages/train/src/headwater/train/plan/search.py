"""Looks through the layouts that a cluster allows and the trainer takes, for those that fit and are fastest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from headwater.train.model import Model
from headwater.train.optimizers.config import Optimizer
from headwater.train.parallel import FLEX_BLOCK, SPLIT_BACKWARD, Parallel, problems
from headwater.train.plan.clusters import Cluster
from headwater.train.plan.job import ADAMW, Checkpointing, Degrees, Job, Method, Precision
from headwater.train.plan.memory import Kind, Memory, memory_per_gpu
from headwater.train.plan.sizes import shape_of
from headwater.train.plan.speed import Speed, step_speed

USABLE = 0.95
"""Share of a GPU's memory that a plan may fill."""

EQUAL = 0.05
"""Difference of speed that is below the model's error: the simpler of two layouts is taken."""

MICRO_BATCHES = (1, 2, 4, 8, 16, 32, 64)


def even_batch(samples: float) -> int:
    """A batch that many numbers of processes divide: to about a sixteenth of the one given."""
    unit = 2 ** max(0, math.floor(math.log2(max(1.0, samples))) - 3)
    return max(1, round(samples / unit) * unit)


BATCH_BELOW, BATCH_ABOVE = 0.7, 1.5
"""How far from the wanted batch one may be, so that processes divide it."""

EAGER_SCHEDULES = ("1F1B", "Interleaved1F1B", "ZBVZeroBubble")
COMPILED_SCHEDULES = ("1F1B", "Interleaved1F1B")


@dataclass(frozen=True)
class Wish:
    """What is to be trained.

    Attributes:
        model: The recipe's `train.model`.
        seq_len: Tokens in a sample.
        batch: Samples in a step that are wanted.
        precision: Of the products.
        compiled: Whether blocks are compiled.
        method: As `Job.method`.
        lora_rank: Width of an adapter.
        optimizer: The recipe's section.
        offload: Whether the optimizer's state lies in host memory.
    """

    model: Model
    seq_len: int
    batch: int
    precision: Precision
    compiled: bool
    method: Method = "pretrain"
    lora_rank: int = 16
    optimizer: Optimizer = ADAMW
    offload: bool = False


@dataclass(frozen=True)
class Candidate:
    """A layout, what it needs, and how fast it is.

    Attributes:
        job: The training on the layout.
        memory: Of the GPU that needs most.
        speed: Predicted; none when it does not fit into `USABLE` of a GPU.
    """

    job: Job
    memory: Memory
    speed: Speed | None

    @property
    def rate(self) -> float:
        """Tokens a second of the cluster; 0 when it does not fit."""
        return self.speed.tokens_per_second_per_gpu * self.job.degrees.processes if self.speed else 0.0


def find(wish: Wish, cluster: Cluster) -> list[Candidate]:
    """All layouts that the trainer takes, those that fit first, then by speed.

    Of those that are within `EQUAL` of the fastest, the simplest comes first, which has fewest degrees above 1, and of
    these the fastest; what is equal to a hundredth goes by memory. What does not fit is ordered by how much is missing.

    Args:
        wish: What is to be trained.
        cluster: On what.
    """
    device = cluster.device
    found: list[Candidate] = []
    for job in jobs(wish, cluster):
        memory = memory_per_gpu(job, kind=kind_of(cluster))
        fits = memory.total <= USABLE * device.memory_bytes
        found.append(Candidate(job, memory, step_speed(job, device) if fits else None))
    best = max((one.rate for one in found), default=0.0)
    return sorted(found, key=lambda one: _order(one, best))


def kind_of(cluster: Cluster) -> Kind:
    """What counts as the memory of a process there: a CPU has neither a context nor torch's allocator of GPUs."""
    return "allocated" if cluster.gpu.generation == "cpu" else "device"


def fits(wish: Wish, cluster: Cluster) -> bool:
    """Whether there is a layout that fits."""
    there = USABLE * cluster.device.memory_bytes
    return any(memory_per_gpu(job, kind=kind_of(cluster)).total <= there for job in jobs(wish, cluster))


def jobs(wish: Wish, cluster: Cluster) -> Iterator[Job]:
    """Every layout that the trainer takes, of the batch wanted or one near it."""
    shape = shape_of(wish.model, wish.seq_len)
    processes = cluster.processes
    for degrees in layouts(wish, cluster):
        parallel = parallel_of(degrees)
        for micro in MICRO_BATCHES:
            batch = _batch(wish.batch, micro, degrees)
            if batch is None:
                break
            micro_batches = batch // (micro * degrees.dp)
            if degrees.pp > 1 and micro_batches < degrees.pp * degrees.virtual:
                break
            refused = problems(
                parallel,
                wish.model,
                seq_len=wish.seq_len,
                global_batch=batch,
                micro_batch=micro,
                compiled=wish.compiled,
            )
            if next(refused, None):
                continue
            for checkpointing in _checkpointings(degrees):
                yield Job(
                    shape=shape, degrees=degrees, seq_len=wish.seq_len, global_batch=batch, micro_batch=micro,
                    precision=wish.precision, checkpointing=checkpointing,
                    kernels="compiled" if wish.compiled else "eager", loss="fused" if wish.compiled else "plain",
                    method=wish.method, lora_rank=wish.lora_rank, optimizer=wish.optimizer, offload=wish.offload,
                )  # fmt: skip
            if processes == 1 and micro >= wish.batch:
                break


def layouts(wish: Wish, cluster: Cluster) -> Iterator[Degrees]:
    """Degrees whose product is the number of GPUs: tensor inside a node, context for length, the rest for data."""
    model, processes, node = wish.model, cluster.processes, cluster.gpu.node_gpus
    experts = model.expert_shape.count if model.family == "deepseek_v3" else 1
    plain = model.family == "gpt2"
    tensor = (
        [1]
        if plain or wish.precision == "float8"
        else [d for d in _powers(min(node, processes, 8)) if _heads(model, d)]
    )
    stages = [1] if plain or model.tied else [d for d in _divisors(model.n_layers) if d <= min(processes, 64)]
    context = [1] if plain or wish.seq_len < 8192 else _powers(min(processes, wish.seq_len // 4096))
    on_gpu = cluster.gpu.generation != "cpu"
    for tp, pp, cp in product(tensor, stages, context):
        if processes % (tp * pp * cp) or (cp > 1 and on_gpu and wish.seq_len % (cp * FLEX_BLOCK)):
            continue
        dp = processes // (tp * pp * cp)
        for shard in _shards(dp, tp * cp, node):
            for ep in [1] if experts == 1 else [d for d in _powers(shard * cp * tp) if experts % d == 0]:
                for virtual, schedule, zero in _schedules(wish, pp, model.n_layers, shard * cp):
                    yield Degrees(dp // shard, shard, tp, pp, cp, ep, virtual, schedule, zero)


def parallel_of(degrees: Degrees) -> Parallel:
    """The recipe's `train.parallel` section."""
    sharded = degrees.shards > 1
    default = 3 if degrees.pp == 1 else 1
    return Parallel(
        dp_replicate=degrees.dp_replicate, dp_shard=degrees.dp_shard, tp=degrees.tp, pp=degrees.pp, cp=degrees.cp,
        ep=degrees.ep, schedule=degrees.schedule,  # pyright: ignore[reportArgumentType]
        zero=degrees.zero if sharded and degrees.zero != default else None,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def _order(one: Candidate, best: float) -> tuple[float, ...]:
    if one.speed is None:
        return 2, one.memory.total
    if one.rate >= (1 - EQUAL) * best:
        return 0, _degrees(one), -round(one.rate / best, 2), one.memory.total
    return 1, -one.rate


def _batch(wanted: int, micro: int, degrees: Degrees) -> int | None:
    """The batch nearest to the wanted one that processes and micro-batches divide."""
    unit = micro * degrees.dp
    near = max(1, round(wanted / unit)) * unit
    return near if BATCH_BELOW * wanted <= near <= BATCH_ABOVE * wanted else None


def _checkpointings(degrees: Degrees) -> tuple[Checkpointing, ...]:
    return ("none", "full") if degrees.schedule in SPLIT_BACKWARD else ("none", "selective", "full")


def _schedules(wish: Wish, pp: int, layers: int, shards: int) -> Iterator[tuple[int, str, int]]:
    """Stages of a process, the schedule, and the ZeRO stage."""
    if pp == 1:
        yield 1, "1F1B", 3
        if shards > 1:
            yield 1, "1F1B", 2
        return
    for schedule in COMPILED_SCHEDULES if wish.compiled else EAGER_SCHEDULES:
        virtual = 1 if schedule == "1F1B" else 2
        if layers % (pp * virtual) == 0:
            yield virtual, schedule, 1
            if shards > 1:
                yield virtual, schedule, 3


def _shards(dp: int, inner: int, node: int) -> list[int]:
    """How many of the data-parallel processes share one copy of the weights: all, those of a node, or of some nodes."""
    inside = max(1, node // inner)
    options = {dp, *(size for size in (inside, inside * 2, inside * 4, inside * 8) if size < dp and dp % size == 0)}
    return sorted(options, reverse=True)


def _heads(model: Model, tp: int) -> bool:
    return model.n_heads % tp == 0 and (model.family == "deepseek_v3" or model.n_kv_heads % tp == 0)


def _powers(limit: int) -> list[int]:
    return [2**power for power in range(int(math.log2(max(1, limit))) + 1)]


def _divisors(number: int) -> list[int]:
    return [value for value in range(1, number + 1) if number % value == 0]


def _degrees(one: Candidate) -> int:
    degrees = one.job.degrees
    return sum(value > 1 for value in (degrees.dp_replicate, degrees.tp, degrees.pp, degrees.cp, degrees.ep))
