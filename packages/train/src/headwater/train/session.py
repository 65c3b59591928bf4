"""What a run writes beside its checkpoints: events, losses, metrics, progress."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from headwater.core.events import EventLog
from headwater.core.in_loop import InLoop
from headwater.core.layout import RunLayout
from headwater.train.losses import LossLog

TERMINATED = 75
"""Exit code after SIGTERM, or a stall that came after a checkpoint: EX_TEMPFAIL of sysexits.h, "try again", which
launchers restart on as often as it comes.
"""

STALLED = 69
"""Exit code after a stall before which no checkpoint was written since the run began or went on: EX_UNAVAILABLE of
sysexits.h. The next try may end at the same step, so launchers have to count it.
"""


class Session:
    """The files of a run in progress.

    Args:
        run: The run folder.
        profile_steps: How many steps to trace with torch's profiler.
        in_loop: What is done with checkpoints between steps.

    Attributes:
        events: `events.jsonl`.
        losses: `losses.jsonl`.
        checkpoints_written: By this run of the command.
        restarts: Times that the run went on from a checkpoint, this one among them.
        advance: Called after every step with its number and a note for the progress bar.
        terminated: Whether SIGTERM came: the step is finished, a checkpoint written, and the run ends.
    """

    def __init__(self, run: RunLayout, profile_steps: int = 0, in_loop: Sequence[InLoop] = ()) -> None:
        self.run, self.profile_steps, self.in_loop = run, profile_steps, in_loop
        self.events = EventLog(run.train / "events.jsonl")
        self.losses = LossLog(run.train / "losses.jsonl")
        self.checkpoints_written = self.restarts = 0
        self.advance: Callable[[int, str], None] = lambda step, note: None
        self.terminated = False

    @contextmanager
    def until_terminated(self) -> Iterator[None]:
        """Turns SIGTERM into `terminated` while the block runs. Does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self.terminated = True
