"""What one process does and all of them learn of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def on_main(action: Callable[[], T], group: Any = None) -> T:
    """Runs an action on rank 0; every rank gets its result, or its error.

    Args:
        action: What to do; result and error must be picklable when there are several processes.
        group: The process group that the ranks talk over; default: that of the training.
    """
    import torch.distributed as dist

    box: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            box[0] = action()
        except Exception as error:
            if dist.get_world_size() == 1:
                raise
            box[1] = error
    if dist.get_world_size() > 1:
        dist.broadcast_object_list(box, src=0, group=group)
    if box[1] is not None:
        raise box[1]
    return box[0]
