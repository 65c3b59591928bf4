"""The figures of a step: made equal on all processes, judged on the device, read on the host one step later.

A host that waits for the loss of each step cannot send the next one while the device works. So nothing here waits:

* `agree` takes the greatest of each figure over all processes. Loss and gradient norm are sums over them already; but a
  decision must not rest on that. One process that decided otherwise would leave the others waiting in a collective.
* `refuses` compares them with limits that the host gave before it sent the step. `update_unless` hands the answer to
  the fused optimizer as its `found_inf`, which a gradient scaler uses in the same way: weights, moments and step counts
  stay as they are, and the host never learns of it here.
* `Readback` copies the figures to the host behind the step's work, and hands them out when the next step was sent.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist

_LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class Sent:
    """A step that was sent to the device: its number, the first position that it reads, its learning rate."""

    step: int
    start: int
    learning_rate: float


@dataclass(frozen=True)
class Figures:
    """What the device found.

    Attributes:
        sent: The step.
        loss: Mean loss of the global batch.
        rank_loss: The greatest mean loss of one process's tokens.
        grad_norm: Before clipping.
        refused: Whether the update was left out.
        flags: For each flag of `agree`, whether any process had it set.
        fed: Digest of what the step was fed.
        source_nats: Summed losses of the step by label of `Sources`.
        source_tokens: For how many tokens these count.
        update_ratios: By `updates.GROUPS`; none where they were not measured.
        expert_tokens: From `ExpertLoad.take`; none where they were not.
        loss_scale: From `LossScale.update`; none where there is none.
    """

    sent: Sent
    loss: float
    rank_loss: float
    grad_norm: float
    refused: bool
    flags: tuple[bool, ...]
    fed: int
    source_nats: tuple[float, ...] = ()
    source_tokens: tuple[float, ...] = ()
    update_ratios: tuple[float, ...] = ()
    expert_tokens: tuple[float, ...] = ()
    loss_scale: tuple[float, ...] = ()

    @property
    def overflowed(self) -> bool:
        """Whether the step was left out only because its scaled gradients were too large for float16."""
        return bool(self.loss_scale and self.loss_scale[0])


def agree(
    loss: torch.Tensor, grad_norm: torch.Tensor, rank_loss: torch.Tensor, *flags: bool | torch.Tensor
) -> torch.Tensor:  # fmt: skip
    """The figures on which all processes agree: of each, the greatest; what is not finite counts as infinite.

    Args:
        loss: Of the global batch as this process knows it, 0-dimensional.
        grad_norm: The same.
        rank_loss: Of this process's own tokens; 0 where it has no loss.
        *flags: Of this process; those that the device knows are 0-dimensional.

    Returns:
        Loss, gradient norm, loss of one process, whether each was NaN anywhere, and the flags; float32 of shape
        [6 + flags].
    """
    known = torch.stack([loss.float(), grad_norm.float(), rank_loss.float()])
    values = known.nan_to_num(nan=math.inf, posinf=math.inf, neginf=math.inf)
    # Filled, not copied: a copy from the host would wait for the device.
    more = [
        flag.float().reshape(1)
        if isinstance(flag, torch.Tensor)
        else torch.full((1,), float(flag), device=values.device)
        for flag in flags
    ]
    found = torch.cat([values, known.isnan().float(), *more])
    if dist.get_world_size() > 1:
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return found


def refuses(figures: torch.Tensor, loss_limit: float, norm_limit: float) -> torch.Tensor:
    """1 where an update must not be applied, else 0: a float32 of no dimension, on the device.

    Args:
        figures: From `agree`: what was not finite is infinite, and that is over every limit.
        loss_limit: Of the loss.
        norm_limit: Of the gradient norm.
    """
    return ((figures[0] > min(loss_limit, _LARGEST)) | (figures[1] > min(norm_limit, _LARGEST))).float()


def update_unless(refused: torch.Tensor, optimizers: Any, beside: Sequence[torch.Tensor] = ()) -> None:
    """An optimizer step that changes nothing, no weight and no state, where `refused` is 1.

    Args:
        refused: From `refuses`.
        optimizers: torchtitan's container.
        beside: What its hooks change besides: the experts' biases, which balance their load.
    """
    able = [one for one in optimizers if getattr(one, "_step_supports_amp_scaling", False)]
    if len(able) < len(optimizers) and refused.item():
        return  # an optimizer that cannot decide on the device costs one wait a step
    before = [tensor.clone() for tensor in beside]
    for one in able:
        one.found_inf = refused
    optimizers.step()
    for one in able:
        del one.found_inf
    for tensor, old in zip(beside, before, strict=True):
        tensor.copy_(torch.where(refused.bool(), old, tensor))


class Readback:
    """Figures on their way to the host, oldest first.

    Args:
        device: Where they come from.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._sent: deque[tuple[Sent, list[int], torch.Tensor, torch.Tensor, Any]] = deque()

    def send(
        self, sent: Sent, figures: torch.Tensor, refused: torch.Tensor, fed: torch.Tensor, *beside: torch.Tensor
    ) -> None:
        """Sends the figures of a step on their way.

        Args:
            sent: The step.
            figures: From `agree`.
            refused: From `refuses`.
            fed: Digest of what it was fed, int64.
            *beside: What else `Figures` has, in its order; each of one dimension.
        """
        parts = [refused.reshape(1), *beside, figures]
        values, sizes = torch.cat(parts), [len(part) for part in parts]
        if not self._cuda:
            self._sent.append((sent, sizes, values, fed, None))
            return
        on_host = [torch.empty_like(one, device="cpu", pin_memory=True) for one in (values, fed)]
        for target, one in zip(on_host, (values, fed), strict=True):
            target.copy_(one, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._sent.append((sent, sizes, on_host[0], on_host[1], event))

    def receive(self, *, all_of_them: bool) -> Iterable[Figures]:
        """The figures that are due, one at a time: of all steps but the last that was sent, or of that too."""
        while len(self._sent) > (0 if all_of_them else 1):
            sent, sizes, values, fed, event = self._sent.popleft()
            if event is not None:
                event.synchronize()
            numbers = iter(values.tolist())
            (refused,), *beside, figures = [tuple(islice(numbers, size)) for size in sizes]
            known = [math.nan if unknown else value for value, unknown in zip(figures[:3], figures[3:6], strict=True)]
            loss, norm, rank_loss = known
            yield Figures(
                sent, loss, rank_loss, norm, bool(refused), tuple(map(bool, figures[6:])), int(fed.item()), *beside
            )

    def drop(self) -> None:
        """Forgets what is on its way: those steps are undone."""
        self._sent.clear()
