"""What one process does and all of them learn of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from headwater.core.in_loop import InLoop, Outcome
from headwater.core.layout import RunLayout

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


def share_work(work: InLoop, run: RunLayout, step: int, *, told: bool) -> tuple[Outcome | None, str | None]:
    """Shares work on a checkpoint among all ranks.

    Args:
        work: The work.
        run: The run folder.
        step: The checkpoint's step.
        told: Whether what it gives was told before. A kill may come between the work and the telling.

    Returns:
        What it gave, on every rank, None when that was told before; and why it failed, None when it did not.
    """
    import torch.distributed as dist

    # One rank may have much more to do than another: longer than a collective of the training waits.
    group: Any = dist.new_group(backend="gloo", timeout=timedelta(days=7)) if dist.get_world_size() > 1 else None
    try:
        return _shared(work, run, step, group, told)
    finally:
        if group is not None:
            dist.destroy_process_group(group)


def _shared(work: InLoop, run: RunLayout, step: int, group: Any, told: bool) -> tuple[Outcome | None, str | None]:
    import torch.distributed as dist

    try:
        begun = on_main(lambda: work.begin(run, step), group)
    except Exception as error:
        return None, str(error)
    if begun is None and told:
        return None, None
    failed: list[str | None] = [None] * dist.get_world_size()
    if begun is not None:
        try:
            work.share(run, step, begun, dist.get_rank(), dist.get_world_size())
        except Exception as error:  # the others wait for this rank
            failed[dist.get_rank()] = f"{type(error).__name__}: {error}"
    if group is not None:
        dist.all_gather_object(failed, failed[dist.get_rank()], group=group)
    if found := next((each for each in failed if each is not None), None):
        return None, found
    try:
        return on_main(lambda: work.finish(run, step), group), None
    except Exception as error:
        return None, str(error)
