"""Tensors that are sharded over processes, written from whole ones."""

from __future__ import annotations

import torch
from torch.distributed.tensor import DTensor, Replicate, Shard


def local(tensor: torch.Tensor) -> torch.Tensor:
    """What this process has of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def write_part(target: DTensor, whole: torch.Tensor) -> None:
    """Writes this process's part of a whole tensor, which every process has alike, into a sharded one."""
    mesh = target.device_mesh
    same = DTensor.from_local(whole, mesh, [Replicate()] * mesh.ndim, run_check=False)
    # torch copies in place only what has a row for every process.
    if all(
        target.shape[place.dim] >= mesh.size(number)
        for number, place in enumerate(target.placements)
        if isinstance(place, Shard)
    ):
        target.copy_(same)
    else:
        target.to_local().copy_(same.redistribute(mesh, target.placements).to_local())
