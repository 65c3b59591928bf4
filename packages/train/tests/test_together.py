"""Work between training steps: what it gave is told once, whenever the run was killed."""

import pytest
import torch.distributed as dist

from headwater.core.in_loop import Outcome
from headwater.core.layout import RunLayout
from headwater.train.together import share_work

OUTCOME = Outcome({"score": 1.0})


class Work:
    """An evaluation, finished before or not."""

    name, every = "eval", 4

    def __init__(self, begun):
        self.begun, self.shares = begun, 0

    def begin(self, run, step):
        return self.begun

    def share(self, run, step, begun, rank, processes):
        self.shares += 1

    def finish(self, run, step):
        return OUTCOME


@pytest.mark.parametrize(
    ("begun", "told", "given", "shares"),
    [("work", False, OUTCOME, 1), (None, False, OUTCOME, 0), (None, True, None, 0), ("work", True, OUTCOME, 1)],
    ids=["to be done", "done and not told", "done and told", "told of an undone step"],
)
def test_what_was_finished_but_not_told_before_a_kill_is_told(monkeypatch, tmp_path, begun, told, given, shares):
    monkeypatch.setattr(dist, "get_world_size", lambda: 1)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    work = Work(begun)
    assert share_work(work, RunLayout(tmp_path), 8, told=told) == (given, None)
    assert work.shares == shares
