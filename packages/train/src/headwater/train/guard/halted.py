"""The end of a run that the guard cannot heal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headwater.core.errors import TrainError

SHOWN_DOCUMENTS = 12


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
            hint="see the last event in events.jsonl; lower train.optimizer.learning_rate or mend the documents and "
            "train with --fresh, or go on from the last checkpoint with other settings in train.guard",
        )


def listing(documents: Sequence[dict[str, Any]]) -> str:
    """The first documents, each on a line of its own."""
    seen = {document["id"]: document["url"] for document in documents}
    lines = [f"{identifier} {url}" for identifier, url in list(seen.items())[:SHOWN_DOCUMENTS]]
    if len(seen) > SHOWN_DOCUMENTS:
        lines.append(f"and {len(seen) - SHOWN_DOCUMENTS:,} more, listed in the event")
    return "; documents:" + "".join(f"\n    {line}" for line in lines) if lines else ""
