"""The state of a checkpoint as it is: of the type and on the device that the optimizer keeps it in."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch


def keep_as_saved(optimizer: torch.optim.Optimizer) -> None:
    """Makes an optimizer take the tensors of a state as they are.

    torch would bring them to the type and onto the device of the parameters, which is neither what codes of 8 bits are
    of, nor where a state in host memory has room. Counts of steps are left to torch: where they are, it decides.
    """
    kept: list[dict[str, torch.Tensor]] = []

    def take_out(optimizer: torch.optim.Optimizer, given: dict[str, Any]) -> dict[str, Any]:
        kept[:] = [
            {name: value for name, value in given["state"].get(place, {}).items() if _is_kept(name, value)}
            for place in chain.from_iterable(group["params"] for group in given["param_groups"])
        ]
        rest = {
            place: {name: value for name, value in state.items() if not _is_kept(name, value)}
            for place, state in given["state"].items()
        }
        return {**given, "state": rest}

    def put_back(optimizer: torch.optim.Optimizer) -> None:
        parameters = chain.from_iterable(group["params"] for group in optimizer.param_groups)
        for parameter, tensors in zip(parameters, kept, strict=True):
            optimizer.state[parameter].update(tensors)
        kept.clear()

    optimizer.register_load_state_dict_pre_hook(take_out)
    optimizer.register_load_state_dict_post_hook(put_back)


def _is_kept(name: str, value: Any) -> bool:
    return isinstance(value, torch.Tensor) and name != "step"
