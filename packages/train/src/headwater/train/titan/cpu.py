"""Everything that torchtitan 0.3.0 lacks on a CPU with torch 2.13, in one place.

torchtitan is written for accelerators. On a CPU the trainer is nevertheless the same code path: `install()` supplies
what is missing from outside, before any other torchtitan module is imported. Nothing here runs on CUDA. Each shim
names the upstream line that it covers, and what makes it unnecessary:

- `_stub_triton`: `torchtitan/distributed/minimal_async_ep/kernels.py:10` imports triton at module level. Unnecessary
  where triton is installed (detected), or once that import is lazy.
- `_cpu_device`: `torchtitan/tools/utils.py:55` takes "cuda" when there is no accelerator, and the memory monitor
  (`components/metrics.py:42`) asks that device for its name and memory. Unnecessary once it falls back to "cpu".
- `attention_config`, `dense_mask_model`: `torchtitan/models/common/attention.py:243` FlexAttention has no backward on
  a CPU in torch 2.13, and `get_attention_config` refuses SDPA. Unnecessary once FlexAttention has a CPU backward.
- `_dense_masks_in_context_parallel`: `torchtitan/distributed/context_parallel/api.py:263` cuts block masks only.
  Unnecessary with `attention_config`.
- `force_sum_reduction`: `torch/distributed/fsdp` reduces gradients with PREMUL_SUM, which gloo lacks. Unnecessary
  once gloo has it.

torchtitan's CUDA graphs are turned off, and its `partial_dtensor` backend chosen, in `titan.build`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

# Shapes: B batch, L sequence, N heads, H head dimension.


def _stub_triton() -> bool:
    """Import the one module that needs triton with a stand-in, then take the stand-in away again.

    Left in `sys.modules`, it would make torch believe that triton can compile kernels.
    """
    if "triton" in sys.modules or importlib.util.find_spec("triton") is not None:
        return False

    def jit(function: Callable[..., Any] | None = None, **_: Any) -> Any:
        return function if function is not None else (lambda inner: inner)

    def attribute(name: str) -> _Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything()

    triton = types.ModuleType("triton")
    language = types.ModuleType("triton.language")
    # `tl.int64`, `tl.pointer_type(...)` are evaluated in annotations and tables when the kernels' module is imported.
    language.__dict__["__getattr__"] = attribute
    triton.__dict__.update(jit=jit, language=language, __path__=[])
    sys.modules.update({"triton": triton, "triton.language": language})
    try:
        importlib.import_module("torchtitan.distributed.minimal_async_ep.kernels")
    finally:
        del sys.modules["triton"], sys.modules["triton.language"]
    return True


class _Anything:
    """Stands for any attribute of `triton.language` at import time."""

    def __call__(self, *_: Any, **__: Any) -> _Anything:
        return self

    def __getattr__(self, name: str) -> _Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


def _cpu_device() -> None:
    """Point torchtitan's one description of the device at the CPU."""
    from torchtitan.tools import utils

    module = types.ModuleType("headwater_cpu_device")
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    properties = types.SimpleNamespace(name="cpu", total_memory=pages * page_bytes)
    module.__dict__.update(
        set_device=lambda device: None,
        current_device=lambda: 0,
        device_count=lambda: 1,
        synchronize=lambda *_: None,
        empty_cache=lambda: None,
        reset_peak_memory_stats=lambda *_: None,
        memory_stats=lambda *_: {},
        get_device_name=lambda *_: "cpu",
        get_device_properties=lambda *_: properties,
        get_rng_state=torch.get_rng_state,
        set_rng_state=torch.set_rng_state,
    )
    utils.device_type = "cpu"
    utils.device_module = module


def install(device: str) -> None:
    """Make torchtitan importable and usable on `device` ("cpu" or "cuda"); call before importing anything of it.

    Importing torchtitan's device description twice for different devices in one process cannot work, because its
    modules copy the name; a second call with another device is refused.
    """
    known = getattr(install, "device", None)
    if known is not None:
        if known != device:
            raise RuntimeError(f"this process already trains on {known}; start another for {device}")
        return
    install.device = device  # type: ignore[attr-defined]
    if device == "cpu":
        _cpu_device()
        _stub_triton()
        _dense_masks_in_context_parallel()


def document_mask(positions: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
    """The mask of packed documents as a boolean [B, 1, L, L]: same document, and not in the future unless it is seen.

    Args:
        positions: [B, L] integers that restart at 0 where a document starts.
        seen: [B, L] booleans: tokens that their whole document sees; none: no token is seen by one before it.
    """
    length = positions.shape[1]
    starts = torch.arange(length, device=positions.device) - positions
    same = starts.unsqueeze(2) == starts.unsqueeze(1)
    if seen is None:
        return same.tril_().unsqueeze(1)
    return (same & (same.tril() | seen.unsqueeze(1))).unsqueeze(1)


def _dense_masks_in_context_parallel() -> None:
    """Let torchtitan's cut of a batch into context-parallel parts take a dense mask.

    A process keeps the rows of its own queries. It sees the keys of all, in the order in which the processes hold
    them, which is not that of the sample.
    """
    from torchtitan.distributed.context_parallel import api

    cut = api.cp_shard

    def cp_shard(mesh: Any, inputs: tuple[torch.Tensor, ...], attention_masks: Any, *more: Any, **named: Any) -> Any:
        if not isinstance(attention_masks, torch.Tensor):
            return cut(mesh, inputs, attention_masks, *more, **named)
        length = inputs[0].shape[1]
        places = torch.arange(length, device=inputs[0].device).unsqueeze(0)
        (*parts, rows), _ = cut(mesh, (*inputs, places), None, *more, **named)
        columns = torch.empty(length, dtype=rows.dtype, device=rows.device)
        torch.distributed.all_gather_into_tensor(columns, rows[0].contiguous(), group=mesh.get_group())
        return tuple(parts), attention_masks[:, :, rows[0]][..., columns]

    api.cp_shard = cp_shard


def attention_config() -> Any:
    """The config of an inner attention that obeys document masks on a CPU.

    A function, not a module-level class: torchtitan may only be imported after `install`.
    """
    from torchtitan.models.common.attention import FlexAttention

    # A subclass, so that context parallelism gathers the keys as it does for FlexAttention.
    class DocumentAttention(FlexAttention):
        """Scaled dot-product attention with a dense document mask, in the place of FlexAttention.

        FlexAttention's CPU path has a forward and no backward. The mask is dense ([B, 1, L, L]), which is right
        for the sequence lengths that a CPU trains.
        """

        # The trainer asks for masks when the config is one of FlexAttention.
        @dataclass(kw_only=True, slots=True)
        class Config(FlexAttention.Config):
            dropout: float = 0.0

        def __init__(self, config: Config) -> None:
            super().__init__(config)
            self.dropout = config.dropout

        def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
            self,
            q_BLNH: torch.Tensor,
            k_BLNH: torch.Tensor,
            v_BLNH: torch.Tensor,
            *,
            attention_masks: torch.Tensor,
            scale: float | None = None,
            enable_gqa: bool = False,
            **_: Any,
        ) -> torch.Tensor:
            out_BNLH = F.scaled_dot_product_attention(
                q_BLNH.transpose(1, 2),
                k_BLNH.transpose(1, 2),
                v_BLNH.transpose(1, 2),
                attn_mask=attention_masks,
                dropout_p=self.dropout if self.training else 0.0,
                scale=scale,
                enable_gqa=enable_gqa,
            )
            return out_BNLH.transpose(1, 2)

    return DocumentAttention.Config()


def dense_mask_model(base: Any) -> Any:
    """A subclass of a decoder whose `get_attention_masks` gives dense masks, for `attention_config`."""

    class DenseMaskModel(base):
        @dataclass(kw_only=True, slots=True)
        class Config(base.Config):
            pass

        def get_attention_masks(self, positions: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
            return document_mask(positions, seen)

    return DenseMaskModel


def force_sum_reduction(model: torch.nn.Module) -> None:
    """Make FSDP reduce gradients with SUM and divide by itself, which gloo can do."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_force_sum_reduction_for_comms(True)
