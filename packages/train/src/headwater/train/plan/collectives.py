"""How long collective operations take, on rings (Patarasuk and Yuan, 2009) within nodes and between them."""

from __future__ import annotations

from dataclasses import dataclass

from headwater.train.plan.clusters import Gpu
from headwater.train.plan.efficiency import Efficiency

LINK_SECONDS = 4e-6
"""Latency of a hop inside a node."""


@dataclass(frozen=True)
class Group:
    """Processes of one collective.

    Attributes:
        size: How many.
        per_node: How many of them share a node.
    """

    size: int
    per_node: int


def group_of(size: int, stride: int, node_gpus: int) -> Group:
    """A group of processes that lie `stride` ranks apart.

    Args:
        size: Processes of the group.
        stride: Product of the degrees inside it: tensor parallel is innermost, then context, data, and pipeline.
        node_gpus: GPUs of a node.
    """
    return Group(size, max(1, min(size, node_gpus // stride)))


def gather_seconds(size_bytes: float, group: Group, gpu: Gpu, fitted: Efficiency) -> float:
    """Time of an all-gather, or of a reduce-scatter, whose whole result or input has so many bytes.

    Between nodes every node takes in what the others have over all the network adapters of the group's GPUs in it.

    Args:
        size_bytes: Of the whole.
        group: Who takes part.
        gpu: On what.
        fitted: Shares of the bandwidths that are reached.
    """
    if group.size == 1 or not size_bytes:
        return 0.0
    inside = size_bytes * (group.per_node - 1) / group.per_node / (gpu.link_bandwidth * fitted.link)
    nodes = group.size / group.per_node
    if nodes <= 1:
        return inside + (group.size - 1) * LINK_SECONDS
    between = size_bytes * (nodes - 1) / nodes / (group.per_node * gpu.network_bandwidth * fitted.network)
    # A ring goes through all processes: so NCCL reckons its latency too (src/graph/tuning.cc).
    return max(inside, between) + (group.size - nodes) * LINK_SECONDS + (nodes - 1) * fitted.hop_seconds


def exchange_seconds(size_bytes: float, group: Group, gpu: Gpu, fitted: Efficiency) -> float:
    """Time of an all-to-all in which every process has so many bytes to give away.

    Args:
        size_bytes: Of one process, over all receivers.
        group: Who takes part.
        gpu: On what.
        fitted: Shares of the bandwidths that are reached.
    """
    if group.size == 1:
        return 0.0
    outside = 1 - group.per_node / group.size
    inside = size_bytes * (1 - outside) / (gpu.link_bandwidth * fitted.link)
    between = size_bytes * outside / (gpu.network_bandwidth * fitted.network)
    return max(inside, between) + (group.size / group.per_node) * fitted.hop_seconds


def send_seconds(size_bytes: float, stride: int, gpu: Gpu, fitted: Efficiency) -> float:
    """Time to send to a process that lies `stride` ranks away."""
    inside = stride < gpu.node_gpus
    bandwidth = gpu.link_bandwidth * fitted.link if inside else gpu.network_bandwidth * fitted.network
    return size_bytes / bandwidth + (LINK_SECONDS if inside else fitted.hop_seconds)
