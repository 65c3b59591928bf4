"""AdamW with its moments in 8 bits (Dettmers et al., ICLR 2022, arXiv:2110.02861): torchao's format and arithmetic.

A moment is cut into blocks, which have a scale each, and an element of it is the number of one of 256 shares of that.
`torchao.optim.AdamW8bit` cuts what a process holds, so its blocks, and whether there are any, depend on the layout: a
checkpoint of one is no other's, and the training differs. Here a block lies within a row of the whole parameter, and
codes and scales are tensors that are sharded as the parameter is. So the training is that of one process, and a
checkpoint has plain tensors that go from layout to layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from headwater.core.errors import ConfigError
from headwater.train.optimizers.keep import keep_as_saved
from headwater.train.shards import local

MOMENTS = {"exp_avg": True, "exp_avg_sq": False}
"""Name of a moment → whether it has a sign."""


class AdamW8bit(torch.optim.Optimizer):
    """AdamW whose moments of matrices are in 8 bits where their rows are whole blocks, else in float32.

    Args:
        params: Groups of named parameters.
        lr: Learning rate.
        betas: Decay of the running mean of the gradient and of its square.
        eps: Added to the denominator.
        weight_decay: Decoupled; multiplied by the learning rate.
        block_size: Elements of a row that share a scale.

    Raises:
        ConfigError: A layout cuts through blocks.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.95), eps: float = 1e-8,
        weight_decay: float = 0.1, block_size: int = 256,
    ) -> None:  # fmt: skip
        from torchao.optim.adam import single_param_adam  # pyright: ignore[reportMissingImports]

        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "block_size": block_size,
        })  # fmt: skip
        self._update: Callable[..., None] = single_param_adam
        if any(parameter.is_cuda for group in self.param_groups for parameter in group["params"]):
            self._update = torch.compile(
                single_param_adam, fullgraph=True, dynamic=False
            )  # one kernel, as torchao has it
        for group in self.param_groups:
            for name, parameter in zip(group.get("param_names", group["params"]), group["params"], strict=True):
                _require_whole_blocks(name, parameter, group["block_size"])
        keep_as_saved(self)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step."""
        for group in self.param_groups:
            rate = torch.tensor(group["lr"], dtype=torch.float32)  # a number would be compiled into the kernel
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._train(parameter, parameter.grad, group, rate)

    def _train(
        self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any], rate: torch.Tensor
    ) -> None:
        state = self.state[parameter]
        if not state:
            state.update(begun(parameter, group["block_size"]))
        state["step"] += 1
        weight = local(parameter).detach()
        if not weight.numel():  # this process has none of its rows
            return
        moments = [_moment(state, name, weight.dtype) for name in MOMENTS]
        beta1, beta2 = group["betas"]
        self._update(
            weight, local(gradient), state["step"], *moments, None, rate, beta1, beta2, group["weight_decay"],
            group["eps"], True, False,
        )  # fmt: skip


def in_eight_bits(shape: torch.Size, block_size: int) -> bool:
    """Whether the moments of a whole parameter are in 8 bits."""
    return len(shape) >= 2 and shape[-1] % block_size == 0


def _require_whole_blocks(name: Any, parameter: torch.Tensor, block_size: int) -> None:
    columns = local(parameter).shape[-1] if parameter.ndim else 0
    if in_eight_bits(parameter.shape, block_size) and columns % block_size:
        raise ConfigError(
            f"the layout cuts through the blocks of {name}",
            found=f"a process has {columns} of {parameter.shape[-1]} columns, in blocks of {block_size}",
            expected="whole blocks on every process: else the training would depend on the layout",
            hint="lower train.parallel.tp, or set train.optimizer.block_size to a divisor",
        )


def begun(parameter: torch.Tensor, block_size: int) -> dict[str, torch.Tensor]:
    """The state before the first step."""
    state = {"step": torch.tensor(0.0)}
    for name in MOMENTS:
        if not in_eight_bits(parameter.shape, block_size):
            state[name] = torch.zeros_like(parameter)
            continue
        state[f"{name}_codes"] = torch.zeros_like(parameter, dtype=torch.uint8, memory_format=torch.contiguous_format)
        state[f"{name}_scales"] = _scales(parameter, block_size)
    return state


def _scales(parameter: torch.Tensor, block_size: int) -> torch.Tensor:
    """A scale for each block of a parameter: sharded as it is, with `block_size` times fewer columns."""
    *rows, columns = local(parameter).shape
    part = torch.zeros(*rows, columns // block_size, device=parameter.device)
    if not isinstance(parameter, DTensor):
        return part
    whole = torch.empty(*parameter.shape[:-1], parameter.shape[-1] // block_size, device="meta")
    return DTensor.from_local(
        part, parameter.device_mesh, parameter.placements, run_check=False, shape=whole.shape, stride=whole.stride()
    )


def _moment(state: dict[str, torch.Tensor], name: str, dtype: torch.dtype) -> torch.Tensor:
    """A moment of what this process holds, which writes through to the state."""
    if name in state:
        return local(state[name])
    from torchao.optim.subclass_8bit import OptimState8bit  # pyright: ignore[reportMissingImports]

    codes, scales = (local(state[f"{name}_{part}"]) for part in ("codes", "scales"))
    return OptimState8bit(codes, scales.view(-1), _shares(MOMENTS[name], codes.device), MOMENTS[name], dtype=dtype)


@cache
def _shares(signed: bool, device: torch.device) -> torch.Tensor:
    """What the codes stand for, as shares of the scale."""
    from torchao.optim.quant_utils import create_dynamic_map  # pyright: ignore[reportMissingImports]

    return torch.tensor(create_dynamic_map(signed=signed), dtype=torch.float32, device=device)
