"""What a run writes beside its checkpoints: events, losses, metrics, progress."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from headwater.core.errors import TrainError
from headwater.core.events import EventLog
from headwater.core.layout import RunLayout
from headwater.train.losses import LossLog

SHOWN_DOCUMENTS = 12


class Session:
    """The files of a run in progress.

    Args:
        run: The run folder.

    Attributes:
        events: `events.jsonl`.
        losses: `losses.jsonl`.
        checkpoints_written: By this run of the command.
        advance: Called after every step with a note for the progress bar.
        terminated: Whether SIGTERM came: the step is finished, a checkpoint written, and the run ends.
    """

    def __init__(self, run: RunLayout) -> None:
        self.run = run
        self.events = EventLog(run.train / "events.jsonl")
        self.losses = LossLog(run.train / "losses.jsonl")
        self.checkpoints_written = 0
        self.advance: Callable[[str], None] = lambda note: None
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


class NonFinite(TrainError):
    """Loss or gradient norm were NaN or infinite; the step was not applied.

    Args:
        step: The step.
        loss: Its loss.
        grad_norm: Its gradient norm.
        samples: Ids of the samples in its batch.
        documents: The documents that the samples hold (see `batches.documents_of`).
        validation: Whether the loss is the one of the validation after the step, which was applied but not saved.
    """

    def __init__(
        self, step: int, loss: float, grad_norm: float, samples: list[int], documents: list[dict[str, Any]],
        *, validation: bool = False,
    ) -> None:  # fmt: skip
        seen = {document["id"]: document["url"] for document in documents}
        lines = [f"{identifier} {url}" for identifier, url in list(seen.items())[:SHOWN_DOCUMENTS]]
        if len(seen) > SHOWN_DOCUMENTS:
            lines.append(f"and {len(seen) - SHOWN_DOCUMENTS} more, listed in the event")
        listing = "".join(f"\n    {line}" for line in lines)
        figures = f"{'validation loss' if validation else 'loss'} {loss}, gradient norm {grad_norm}"
        super().__init__(
            f"the validation after step {step} is not finite; it is not saved, and the last good checkpoint stays"
            if validation
            else f"step {step} is not finite; it was not applied, and the last good checkpoint stays",
            found=f"{figures}; samples {samples[0]} to {samples[-1]}, documents:{listing}",
            expected="finite numbers",
            hint="see the nonfinite event in events.jsonl; lower train.optimizer.learning_rate or mend the documents, "
            "then train with --fresh",
        )
        self.step = step
