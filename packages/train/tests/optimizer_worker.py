"""Steps of every optimizer on parameters that the processes of a group share, held against those of one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

from headwater.train import titan
from headwater.train.optimizers.adafactor import Adafactor
from headwater.train.optimizers.lion import Lion
from headwater.train.optimizers.muon import Muon
from headwater.train.optimizers.sgd import Sgd

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.1, fused=True),
    "sgd": lambda groups: Sgd(groups, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True, fused=True),
    "sgd without momentum": lambda groups: Sgd(groups, lr=0.1, fused=True),
    "adafactor": lambda groups: Adafactor(groups, lr=0.1),
    "lion": lambda groups: Lion(groups, lr=0.1, weight_decay=0.1),
    "muon": lambda groups: Muon(groups, lr=0.1, precision="float32"),
}


def main() -> None:
    """Compares, on fewer rows than processes, on rows that these do not divide, and on vectors."""
    titan.start("cpu", 2, 1)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for name, make in OPTIMIZERS.items():
        for shape in ((1, 6), (3, 6), *([] if name == "muon" else [(5,)])):
            start, *gradients = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
            whole = torch.nn.Parameter(start.clone())
            shared = torch.nn.Parameter(distribute_tensor(start.clone(), mesh, [Shard(0)]))
            alone, together = make([whole]), make([shared])
            for gradient in gradients:
                whole.grad, shared.grad = gradient, distribute_tensor(gradient.clone(), mesh, [Shard(0)])
                alone.step()
                together.step()
            found = shared.detach().full_tensor()  # type: ignore[attr-defined]
            torch.testing.assert_close(found, whole.detach(), rtol=0, atol=1e-6, msg=lambda said: f"{name}: {said}")  # noqa: B023
            assert not torch.equal(whole, start)
    titan.stop()
