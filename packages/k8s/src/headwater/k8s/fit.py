"""Refuses a training that cannot run on its cluster, before anything is submitted.

The memory of a process is what `headwater plan` reckons; only what the host has to hold is reckoned here. So this is
the one module that imports headwater.train, when a training is rendered: the images of data and evaluations lack it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from headwater.core.console import warn
from headwater.core.errors import ConfigError
from headwater.k8s.quantities import gib, value_of

if TYPE_CHECKING:
    from headwater.k8s.config import Cluster
    from headwater.train.config import TrainConfig
    from headwater.train.plan.job import Job
    from headwater.train.plan.memory import Memory

PROCESS_BYTES = 6 * 2**30
"""Host memory of one process: torch with CUDA, tokens that are mapped, pinned buffers."""

WEIGHT_BYTES = 4
"""Of a weight in a checkpoint, which is in float32."""


def require_fit(train: TrainConfig, cluster: Cluster, vocab_size: int | None) -> Memory:
    """Checks a training against its cluster.

    Args:
        train: The `train` section.
        cluster: The `cluster` section.
        vocab_size: The tokenizer's entries, where the recipe says how many.

    Returns:
        The memory of the process that needs most.

    Raises:
        ConfigError: The degrees do not multiply to the world size, the device is not what the pods have, or memory or
            the grace period does not suffice.
    """
    from headwater.train.plan.memory import memory_per_gpu
    from headwater.train.plan.recipe import job_of_config

    _world(train, cluster)
    _device(train, cluster)
    size = vocab_size or train.model.vocab_size
    if size is None:
        raise ConfigError(
            "the size of the vocabulary is not known, so memory cannot be checked",
            hint="give tokenizer.vocab_size (or train.model.vocab_size) in the recipe",
        )
    job = job_of_config(train, size)
    memory = memory_per_gpu(job, kind="allocated" if cluster.cpu_only else "device")
    if not cluster.cpu_only:
        _device_memory(train, cluster, job, memory)
    _host_memory(train, cluster, job, memory)
    _grace(cluster, job)
    return memory


def _world(train: TrainConfig, cluster: Cluster) -> None:
    parallel = train.parallel
    if parallel.world_size != cluster.world_size:
        degrees = " × ".join(
            f"{name} {getattr(parallel, name)}" for name in ("dp_replicate", "dp_shard", "tp", "pp", "cp")
        )
        missing = parallel.world_size / cluster.gpus_per_node
        raise ConfigError(
            "the degrees of train.parallel do not multiply to the number of processes",
            found=f"{degrees} = {parallel.world_size}",
            expected=f"cluster.nodes {cluster.nodes} × cluster.gpus_per_node {cluster.gpus_per_node} = "
            f"{cluster.world_size}",
            hint=f"set cluster.nodes={missing:g}"
            if missing == int(missing) and missing >= 1
            else f"for example train.parallel.dp_shard={cluster.world_size} and the other degrees 1",
        )
    if parallel.tp > cluster.gpus_per_node or cluster.gpus_per_node % parallel.tp:
        warn(
            f"train.parallel.tp ({parallel.tp}) does not divide cluster.gpus_per_node ({cluster.gpus_per_node}): "
            "tensor parallelism would cross nodes, which is slow"
        )


def _device(train: TrainConfig, cluster: Cluster) -> None:
    if not cluster.cpu_only:
        from headwater.train.parallel import require_blocks

        if train.device == "cpu":
            raise ConfigError("the training is to run on a CPU and its pods have GPUs", found="train.device: cpu",
                              hint="set train.device=cuda, or cluster.cpu_only=true")  # fmt: skip
        require_blocks(train.parallel, train.seq_len, "cuda")
    elif train.device == "cuda":
        raise ConfigError("the training is to run on GPUs and its pods have none", found="cluster.cpu_only: true",
                          hint="set train.device=cpu, or cluster.cpu_only=false")  # fmt: skip
    elif train.offload != "none":
        raise ConfigError("the training is to keep state off its GPUs and its pods have none",
                          found=f"train.offload: {train.offload}", hint="set train.offload=none")  # fmt: skip


def _device_memory(train: TrainConfig, cluster: Cluster, job: Job, memory: Memory) -> None:
    from headwater.train.plan.search import USABLE

    have = float(value_of(cluster.gpu.memory)) * USABLE
    if memory.total <= have:
        return
    parallel, batch = train.parallel, memory.activations + memory.logits
    hints = []
    if train.micro_batch > 1 and batch > memory.total / 4:
        hints.append("lower train.micro_batch")
    if batch > memory.total / 4:
        if train.activation_checkpointing != "full":
            hints.append("set train.activation_checkpointing=full")
        hints.append("raise train.parallel.tp, cp or pp, or lower train.seq_len")
    if memory.states + memory.communication > memory.total / 4:
        hints.append("shard more: train.parallel.dp_shard" + (", with zero 3" if parallel.zero_stage < 3 else ""))
    if memory.optimizer > memory.total / 4:
        hints.append("set train.offload=optimizer, or train.optimizer.name=adamw_8bit")
    raise ConfigError(
        "the training does not fit into the GPUs' memory",
        found=f"about {gib(memory.total)} a process: {job.counts.total / 1e9:,.2f} billion parameters of a "
        f"{job.shape.family} · weights, gradients and optimizer state {gib(memory.states)} · gathered "
        f"{gib(memory.communication)} · activations {gib(memory.activations)} · logits {gib(memory.logits)} · reserve "
        f"{gib(memory.reserve)}",
        expected=f"at most {gib(have)}: {USABLE:.0%} of cluster.gpu.memory {cluster.gpu.memory}",
        hint="; ".join(hints) or "use GPUs with more memory",
    )


def _host_memory(train: TrainConfig, cluster: Cluster, job: Job, memory: Memory) -> None:
    """Each process, its copy of what a background checkpoint keeps, optimizer state that is offloaded, and on CPUs all
    that a GPU would hold.
    """
    from headwater.train.plan.memory import optimizer_bytes

    state = optimizer_bytes(job)
    copy = memory.parameters + state if train.checkpoint.background else 0.0
    process = PROCESS_BYTES + copy + (state if job.offload else 0.0) + (memory.total if cluster.cpu_only else 0.0)
    shared, have = float(value_of(cluster.shared_memory)), float(value_of(cluster.resources.memory))
    need = cluster.gpus_per_node * process + shared
    if need > have:
        raise ConfigError(
            "the training does not fit into the pods' host memory",
            found=f"about {gib(need)}: {cluster.gpus_per_node} processes of {gib(process)}, and shared memory of "
            f"{gib(shared)}",
            expected=f"at most {gib(have)}: cluster.resources.memory {cluster.resources.memory}",
            hint="raise cluster.resources.memory, or lower cluster.shared_memory; train.checkpoint.background=false "
            "needs no copy of the state in host memory",
        )


def _grace(cluster: Cluster, job: Job) -> None:
    from headwater.train.plan.job import Degrees
    from headwater.train.plan.optimizer_state import of_process

    size = WEIGHT_BYTES * job.counts.total + of_process(replace(job, degrees=Degrees()), 0)
    rate = float(value_of(cluster.storage.write_rate))
    need = 60 + size / rate
    if need > cluster.grace_seconds:
        raise ConfigError(
            "the grace period is too short for the checkpoint that SIGTERM asks for",
            found=f"cluster.grace_seconds {cluster.grace_seconds}",
            expected=f"at least {need:,.0f}: {gib(size)} at cluster.storage.write_rate {cluster.storage.write_rate} a "
            "second, and a minute for the step at work",
            hint=f"set cluster.grace_seconds={int(need / 60 + 1) * 60}, or cluster.storage.write_rate to what it is",
        )
