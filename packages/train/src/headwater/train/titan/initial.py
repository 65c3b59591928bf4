"""Initial weights that depend on the seed and on nothing else: not on the layout, nor on the number of processes.

torchtitan draws them from one random stream a rank, so that a pipeline stage or, on a CPU, a shard starts from other
values than a single process does. Here every parameter has a stream of its own, seeded by the run's seed and the
parameter's full name. Each process draws the whole parameter, one at a time, and keeps its shard: no communication,
and no more memory than the largest parameter takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torchtitan.models.common.param_init import skip_param_init

from headwater.train.shards import write_part

Initialiser = Callable[[torch.Tensor], object]


def key_parameters(
    model: nn.Module, seed: int, std_factor: Callable[[str], float] = lambda name: 1.0
) -> None:  # fmt: skip
    """Gives each parameter of a whole model, before it is split or sharded, its own random stream.

    Args:
        model: A torchtitan model, whose modules hold their parameters' initialisers.
        seed: The run's seed.
        std_factor: Name of a module → factor of its initial matrices.
    """
    for module_name, module in model.named_modules():
        initialisers: dict[str, Initialiser] | None = getattr(module, "_param_init", None)
        if initialisers is not None:
            factor = std_factor(module_name)
            keyed = {name: _keyed(f"{module_name}.{name}", init, seed, factor) for name, init in initialisers.items()}
            module._param_init = keyed  # type: ignore[assignment]


def _keyed(name: str, init: Initialiser, seed: int, factor: float) -> Initialiser:
    if init is skip_param_init:
        return init
    key = int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8], "big") >> 1

    @torch.no_grad()
    def draw(parameter: torch.Tensor) -> None:
        device = parameter.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(key)
            whole = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
            init(whole)
        if factor != 1.0 and whole.ndim > 1:
            whole.mul_(factor)
        if isinstance(parameter, DTensor):
            write_part(parameter, whole)
        else:
            parameter.copy_(whole)

    return draw
