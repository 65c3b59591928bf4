"""`events.jsonl`: what happened in a run, one JSON object a line, in order."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from headwater.core.errors import ManifestError
from headwater.core.storage import storage_errors

EventKind = Literal[
    "start", "resume", "checkpoint", "checkpoint_deleted", "checkpoint_refused", "validation", "metrics",
    "nonfinite", "spike", "skip", "rollback", "halt", "stall", "reweigh", "profile", "eval", "early_stop",
    "stop", "finish",
]  # fmt: skip
EVENT_KINDS: tuple[str, ...] = get_args(EventKind)


class EventLog:
    """Appends events to a file, flushed line by line.

    Args:
        path: The file; it is created.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def emit(self, kind: EventKind, step: int, **fields: Any) -> None:
        """Appends one event.

        Args:
            kind: What happened, from the closed vocabulary `EVENT_KINDS`.
            step: The training step it belongs to.
            **fields: More, JSON values only.

        Raises:
            ValueError: The kind is not in the vocabulary; that is a defect of the caller.
        """
        if kind not in EVENT_KINDS:
            raise ValueError(f"unknown event kind {kind}")
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": time, "kind": kind, "step": step, **fields}, ensure_ascii=False) + "\n"
        with storage_errors("write", self.path), open(self.path, "a", encoding="utf-8") as stream:
            stream.write(line)


def read_events(path: str | Path) -> list[dict[str, Any]]:
    """Reads an event log. A last line that was cut by a kill is left out.

    Raises:
        ManifestError: A line before the last is not JSON.
    """
    events: list[dict[str, Any]] = []
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            events.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise ManifestError(f"line {number} of {path} is not JSON: {error}") from error
    return events
