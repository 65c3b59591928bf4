"""Kinds of GPU and clusters of them, as `h100:512`.

Peaks are dense tensor-core figures of the vendor's data sheets; bandwidths are in one direction. A node is what NVLink
joins. "h100-500w" is the H100 of torchtitan's benchmarks (96 GB HBM2e, 2.4 TB/s, limited to 500 W); "h800" is an H100
with half the NVLink.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from headwater.core.config import nearest
from headwater.core.errors import ConfigError

GIB, GB = 2**30, 1e9

MAX_GPUS = 131_072


@dataclass(frozen=True)
class Gpu:
    """A kind of accelerator.

    Attributes:
        generation: Whose fitted efficiencies it has: "ampere", "hopper", "blackwell" or "cpu".
        peak_bf16, peak_fp8: FLOP/s of dense products; 0 where there are none.
        memory_bytes: Of one GPU.
        memory_bandwidth: Bytes a second between a GPU's memory and its cores.
        link_bandwidth: Bytes a second from one GPU to others of its node.
        network_bandwidth: Bytes a second from one GPU to other nodes.
        node_gpus: GPUs that NVLink joins.
        host_gpus: GPUs of one machine: eight, and four where a rack is one NVLink domain.
        power_watts: Most that a GPU draws (TDP).
    """

    name: str
    generation: str
    peak_bf16: float
    peak_fp8: float
    memory_bytes: float
    memory_bandwidth: float
    link_bandwidth: float
    network_bandwidth: float
    node_gpus: int
    host_gpus: int
    power_watts: float


def _gpu(
    name: str, generation: str, teraflops: float, fp8: float, memory: float, terabytes: float, link: float,
    network: float, power: float, node: int = 8,
) -> Gpu:  # fmt: skip
    return Gpu(name, generation, teraflops * 1e12, fp8 * 1e12, memory * GIB, terabytes * 1e12, link * GB,
               network * GB, node, 4 if node == 72 else min(node, 8), power)  # fmt: skip


GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("a100-40gb", "ampere", 312, 0, 40, 1.555, 300, 25, 400),
        _gpu("a100-80gb", "ampere", 312, 0, 80, 2.039, 300, 25, 400),
        _gpu("h100", "hopper", 989, 1979, 80, 3.35, 450, 50, 700),
        _gpu("h100-500w", "hopper", 989, 1979, 94, 2.4, 450, 50, 500),
        _gpu("h800", "hopper", 989, 1979, 80, 3.35, 200, 50, 700),
        _gpu("h200", "hopper", 989, 1979, 141, 4.8, 450, 50, 700),
        _gpu("b200", "blackwell", 2250, 4500, 180, 8.0, 900, 50, 1000),
        _gpu("gb200", "blackwell", 2500, 5000, 186, 8.0, 900, 50, 1200, 72),
        _gpu("gb300", "blackwell", 2500, 5000, 279, 8.0, 900, 100, 1400, 72),
        # One core of a laptop or server: 3 GHz, 32 float32 operations a cycle (AVX2). It has no tensor cores.
        _gpu("cpu", "cpu", 0.096, 0, 4, 0.02, 10, 1.25, 8, 4096),
    )
}

ALIASES = {"a100": "a100-80gb"}


@dataclass(frozen=True)
class Cluster:
    """So many GPUs of a kind.

    Attributes:
        gpu: The kind.
        gpus: How many; of "cpu", cores.
    """

    gpu: Gpu
    gpus: int

    @property
    def processes(self) -> int:
        """Processes that train: one a GPU, and one for all cores of a CPU."""
        return 1 if self.gpu.generation == "cpu" else self.gpus

    @property
    def device(self) -> Gpu:
        """What one process has."""
        if self.gpu.generation != "cpu":
            return self.gpu
        cores = self.gpus
        return replace(
            self.gpu, peak_bf16=self.gpu.peak_bf16 * cores, memory_bytes=self.gpu.memory_bytes * cores,
            memory_bandwidth=self.gpu.memory_bandwidth * min(cores, 4), power_watts=self.gpu.power_watts * cores,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """As it was given: `h100:512`."""
        return f"{self.gpu.name}:{self.gpus}"


def parse_cluster(text: str, *, gpu_memory_gib: float | None = None, network_gbps: float | None = None) -> Cluster:
    """The cluster that `KIND:NUMBER` names; the number is 1 when it is left out.

    Args:
        text: For example `h100:512`.
        gpu_memory_gib: Memory of a GPU, where it is not that of the kind.
        network_gbps: Bandwidth of the network for each GPU, in Gbit/s.

    Raises:
        ConfigError: Another form, an unknown kind, no such number of GPUs, memory or bandwidth.
    """
    match = re.fullmatch(r"\s*([a-z0-9-]+?)\s*(?::\s*([^\s]+))?\s*", text.lower())
    if match is None:
        raise ConfigError("cannot read --cluster", found=repr(text), expected="KIND:NUMBER, for example h100:512")
    kind, count = ALIASES.get(match[1], match[1]), match[2] or "1"
    if kind not in GPUS:
        near = nearest(kind, [*GPUS, *ALIASES])
        raise ConfigError(
            f"--cluster names a kind of GPU that is not known: {match[1]}",
            expected=f"one of: {', '.join([*GPUS, *ALIASES])}", hint=f"did you mean {near}?" if near else None,
        )  # fmt: skip
    if not re.fullmatch(r"[0-9]{1,9}", count) or not 1 <= int(count) <= MAX_GPUS:
        raise ConfigError("--cluster has no such number of GPUs", found=f"{text.strip()}",
                          expected=f"{kind}:NUMBER with a whole number from 1 to {MAX_GPUS:,}")  # fmt: skip
    for option, value in (("--gpu-memory", gpu_memory_gib), ("--network-gbps", network_gbps)):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{option} is out of range", found=value, expected="a positive number")
    gpus, gpu = int(count), GPUS[kind]
    if gpu.generation != "cpu" and gpus > gpu.host_gpus and gpus % gpu.host_gpus:
        raise ConfigError(
            "--cluster has a machine that is not whole", found=f"{gpus} GPUs",
            expected=f"a multiple of {gpu.host_gpus}, the GPUs of a machine, or at most {gpu.host_gpus}",
        )  # fmt: skip
    if gpu_memory_gib is not None:
        gpu = replace(gpu, memory_bytes=gpu_memory_gib * GIB / (gpus if gpu.generation == "cpu" else 1))
    if network_gbps is not None:
        gpu = replace(gpu, network_bandwidth=network_gbps * 1e9 / 8)
    return Cluster(gpu, gpus)
