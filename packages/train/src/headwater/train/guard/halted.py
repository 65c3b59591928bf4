"""The end of a run that the guard cannot heal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headwater.core.errors import TrainError
from headwater.core.events import read_events

SHOWN_DOCUMENTS = 12
RESTARTS = "TORCHELASTIC_RESTART_COUNT"
"""What torchrun tells its workers: how often it has started them again."""
_TO_DO = (
    "see the last event in events.jsonl; lower train.optimizer.learning_rate or mend the documents and train with "
    "--fresh, or go on from the last checkpoint with other settings in train.guard"
)


class Halted(TrainError):
    """The guard halted the run; the last good checkpoint stays.

    Args:
        message: What was found at which step.
        found: The figures.
        documents: The documents of the samples that it is about (see `batches.documents_of`).
    """

    def __init__(self, message: str, found: str, documents: Sequence[dict[str, Any]]) -> None:
        super().__init__(
            f"{message}; the last good checkpoint stays",
            found=f"{found}{listing(documents)}",
            hint=_TO_DO,
        )


def refuse_to_restart(events: Path) -> None:
    """Ends a run that torchrun, not a person, has started again after the guard halted it: it would end alike.

    Args:
        events: The run's `events.jsonl`.

    Raises:
        TrainError: It is one.
    """
    again = os.environ.get(RESTARTS, "0")
    last = read_events(events)[-1:] if again != "0" and events.is_file() else []
    if last and last[0]["kind"] == "halt":
        raise TrainError(
            f"the guard halted this run at step {last[0]['step']}, and torchrun started it again: it would end alike",
            found=f"{RESTARTS}={again}", hint=_TO_DO,
        )  # fmt: skip


def listing(documents: Sequence[dict[str, Any]]) -> str:
    """The first documents, each on a line of its own."""
    seen = {document["id"]: document["url"] for document in documents}
    lines = [f"{identifier} {url}" for identifier, url in list(seen.items())[:SHOWN_DOCUMENTS]]
    if len(seen) > SHOWN_DOCUMENTS:
        lines.append(f"and {len(seen) - SHOWN_DOCUMENTS:,} more, listed in the event")
    return "; documents:" + "".join(f"\n    {line}" for line in lines) if lines else ""
