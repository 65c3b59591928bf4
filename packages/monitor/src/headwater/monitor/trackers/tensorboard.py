"""Metrics as TensorBoard's event files: `tensorboard --logdir RUN/trackers/tensorboard`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.core.sinks import check_names
from headwater.core.storage import storage_errors
from headwater.monitor.trackers import lacking, tag_of


class TensorBoardSink:
    """A `MetricSink` that writes scalars by step.

    Steps that a resume or a rollback undoes are purged: TensorBoard hides what was written of them before.

    Args:
        folder: Where the event files go.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise lacking("tensorboard", error) from error
        self._folder, self._events, self._summaries = str(folder), event_pb2, summary_pb2
        self._writer: Any = None
        self._make = EventFileWriter

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the values of one step."""
        check_names(values)
        if self._writer is None:
            self._begin(step)
        made = [self._summaries.Summary.Value(tag=tag_of(name), simple_value=value) for name, value in values.items()]
        self._add(step, summary=self._summaries.Summary(value=made))

    def rewind(self, step: int) -> None:
        """Hides what was written of the steps after `step`."""
        self._begin(step + 1)

    def close(self) -> None:
        """Writes what is buffered."""
        if self._writer is not None:
            with storage_errors("write", self._folder):
                self._writer.close()
            self._writer = None

    def _begin(self, step: int) -> None:
        """A new file, whose first steps take the place of those in the files before from `step` on."""
        self.close()
        with storage_errors("write", self._folder):
            self._writer = self._make(self._folder)
        self._add(step, session_log=self._events.SessionLog(status=self._events.SessionLog.START))

    def _add(self, step: int, **what: Any) -> None:
        with storage_errors("write", self._folder):
            self._writer.add_event(self._events.Event(step=step, wall_time=time.time(), **what))
