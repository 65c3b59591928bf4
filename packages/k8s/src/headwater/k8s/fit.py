"""Refuses a training that cannot run on its cluster, before anything is submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.core.console import warn
from headwater.core.errors import ConfigError
from headwater.k8s.memory import CONTEXT_BYTES, KEPT_BYTES, Estimate, estimate
from headwater.k8s.quantities import gib, value_of

if TYPE_CHECKING:
    from headwater.core.run import ModelShape
    from headwater.k8s.config import Cluster
    from headwater.train.config import TrainConfig

HEADROOM = 0.05
"""Share of the device's memory that is left to what an estimate does not see."""


def require_fit(train: TrainConfig, cluster: Cluster, vocab_size: int | None) -> Estimate:
    """Checks a training against its cluster.

    Args:
        train: The `train` section.
        cluster: The `cluster` section.
        vocab_size: The tokenizer's entries, where the recipe says how many.

    Returns:
        The memory of one process.

    Raises:
        ConfigError: The degrees do not multiply to the world size, the device is not what the pods have, or memory or
            the grace period does not suffice.
    """
    _world(train, cluster)
    _device(train, cluster)
    size = vocab_size or train.model.vocab_size
    if size is None:
        raise ConfigError(
            "the size of the vocabulary is not known, so memory cannot be checked",
            hint="give tokenizer.vocab_size (or train.model.vocab_size) in the recipe",
        )
    shape = train.model.shape(size, train.seq_len)
    found = estimate(train, shape)
    if not cluster.cpu_only:
        _device_memory(train, cluster, shape, found)
    _host_memory(cluster, found, 0 if not cluster.cpu_only else found.device - CONTEXT_BYTES)
    _grace(cluster, found)
    return found


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


def _device_memory(train: TrainConfig, cluster: Cluster, shape: ModelShape, found: Estimate) -> None:
    have = float(value_of(cluster.gpu.memory)) * (1 - HEADROOM)
    if found.device <= have:
        return
    parallel = train.parallel
    hints = []
    if train.micro_batch > 1 and found.activations > found.device / 4:
        hints.append("lower train.micro_batch")
    if found.activations > found.device / 4:
        hints.append("raise train.parallel.tp, cp or pp, or lower train.seq_len")
    if found.state > found.device / 4:
        hints.append("shard more: train.parallel.dp_shard" + (", with zero 3" if parallel.zero_stage < 3 else ""))
    raise ConfigError(
        "the training does not fit into the GPUs' memory",
        found=f"about {gib(found.device)} a process: {found.parameters / 1e9:,.2f} billion parameters of a "
        f"{shape.family} · weights, gradients and moments {gib(found.state)} · gathered weights "
        f"{gib(found.gathered)} · activations {gib(found.activations)} · context {gib(CONTEXT_BYTES)}",
        expected=f"at most {gib(have)}: cluster.gpu.memory {cluster.gpu.memory} less {HEADROOM:.0%}",
        hint="; ".join(hints) or "use GPUs with more memory",
    )


def _host_memory(cluster: Cluster, found: Estimate, compute: float) -> None:
    shared, have = float(value_of(cluster.shared_memory)), float(value_of(cluster.resources.memory))
    need = cluster.gpus_per_node * (found.host + compute) + shared
    if need > have:
        raise ConfigError(
            "the training does not fit into the pods' host memory",
            found=f"about {gib(need)}: {cluster.gpus_per_node} processes of {gib(found.host + compute)}, and "
            f"shared memory of {gib(shared)}",
            expected=f"at most {gib(have)}: cluster.resources.memory {cluster.resources.memory}",
            hint="raise cluster.resources.memory, or lower cluster.shared_memory; train.checkpoint.background=false "
            "needs no copy of the state in host memory",
        )


def _grace(cluster: Cluster, found: Estimate) -> None:
    size = KEPT_BYTES * found.parameters
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
