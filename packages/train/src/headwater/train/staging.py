"""A copy of the training state in host memory, so that training can go on while it is written."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.distributed.tensor import DTensor


class HostCopy:
    """Copies states into buffers that it keeps: as much memory as one state takes, whatever is saved how often.

    Args:
        pinned: Whether the buffers are page-locked, for fast copies from a GPU.
    """

    def __init__(self, *, pinned: bool) -> None:
        self._pinned = pinned
        self._buffers: dict[str, torch.Tensor] = {}

    def take(self, state: dict[str, Any]) -> dict[str, Any]:
        """A copy of a state, the same down to the strides; the one before it is overwritten.

        Args:
            state: Tensors, distributed tensors and plain values in dictionaries, lists and tuples.
        """
        copied = self._copy(state, "")
        if self._pinned:
            torch.cuda.synchronize()
        return copied

    def _copy(self, value: Any, name: str) -> Any:
        if isinstance(value, DTensor):
            return DTensor(self._host(value.to_local(), name), value._spec, requires_grad=False)
        if isinstance(value, torch.Tensor):
            return self._host(value, name)
        if isinstance(value, dict):
            return {key: self._copy(item, f"{name}.{key}") for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self._copy(item, f"{name}.{place}") for place, item in enumerate(value))
        return copy.deepcopy(value)

    def _host(self, tensor: torch.Tensor, name: str) -> torch.Tensor:
        tensor = tensor.detach()
        host = self._buffers.get(name)
        if host is None or host.shape != tensor.shape or host.dtype != tensor.dtype:
            host = torch.empty_like(tensor, device="cpu", pin_memory=self._pinned)
            self._buffers[name] = host
        return host.copy_(tensor, non_blocking=self._pinned)
