"""A run that is watched: what is in its folder now, read again only where it changed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from headwater.core import metrics as m
from headwater.core.layout import RunLayout
from headwater.core.lock import is_held
from headwater.core.page import format as fmt
from headwater.core.page.line import Event

from ..report.files import RunFiles
from ..report.read import read_funnel
from ..report.read_evaluation import read_evaluation, read_history
from ..report.read_training import event
from ..report.view import Evaluation, Funnel, History
from .log import EventLines, MetricLog

Phase = Literal["waiting", "data", "running", "silent", "finished", "stopped", "halted"]
_ENDS: dict[str, Phase] = {"finish": "finished", "stop": "stopped", "halt": "halted"}
_BEGINS = ("start", "resume")
_SILENT_SECONDS = 60.0
_SILENT_STEPS = 10
_RECENT = 64
T = TypeVar("T")


@dataclass(frozen=True)
class State:
    """How a run stands.

    Attributes:
        phase: `waiting`: there is no such run yet; `data`: it is begun, its training is not; `running`; `silent`: it
            has not ended, and nothing was heard of it for long; `finished`, `stopped`, `halted`: as its events say.
        words: One line for people.
        step: The last step, if there is one.
        planned: Steps in all, if that is known.
        seconds_left: At the speed of the last steps.
        heard: Unix time of the last sign of life.
    """

    phase: Phase
    words: str
    step: int | None = None
    planned: int | None = None
    seconds_left: float | None = None
    heard: float | None = None

    @property
    def is_live(self) -> bool:
        """Whether something may yet come."""
        return self.phase in ("waiting", "data", "running", "silent")


class WatchedRun:
    """A run folder, from before it is there until after it is gone.

    Not safe for threads: hold `lock` while it is read or asked.

    Args:
        root: The run folder.
        name: What the page calls it.
        clock: Unix time.
    """

    def __init__(self, root: Path, name: str = "", clock: Callable[[], float] = time.time) -> None:
        self.run, self.name = RunLayout(root), name or root.resolve().name
        self.lock = threading.Lock()
        self.problems: list[str] = []
        self._clock = clock
        self._kept: dict[str, tuple[Any, Any]] = {}
        self.log = MetricLog(self.run.train)
        self.events = EventLines(self.run.train / "events.jsonl")
        self._events: tuple[list[dict[str, Any]], list[Event]] = ([], [])
        self._left, self._reads = 0, 0

    def refresh(self, seconds: float) -> None:
        """Reads what is new, for about so many seconds at most; `unread` says how much is left."""
        deadline = time.monotonic() + seconds
        self.problems = []
        try:
            unread = -1
            while (left := self.events.read()) and left != unread:  # what stays is a line that is not whole yet
                unread = left
            while (left := self.log.read()) and left != self._left and time.monotonic() < deadline:
                self._left = left
            self._left = left
        except OSError as error:
            self.problems.append(f"{error.filename or self.run.train} cannot be read: {error.strerror or error}")
            self._left = 0
        if self.log.damaged:
            self.problems.append(f"{fmt.plural(self.log.damaged, 'line')} of the metrics are not JSON and are left out")

    def now(self) -> float:
        """Unix time."""
        return self._clock()

    @property
    def unread(self) -> float:
        """The share of the log that is still to be read, 0 when all is."""
        return self._left / (self._left + self.log.size) if self._left > (1 << 16) else 0.0

    @property
    def version(self) -> tuple[int, ...]:
        """Another one when any of what was read is another."""
        for look in (self.funnel, self.evaluation, self.history):
            look()
        return self.log.size, len(self.log), len(self.events.rows), self._reads

    def state(self) -> State:
        """How it stands now."""
        if not self.run.root.is_dir():
            return State("waiting", f"waiting: there is no {self.run.root} yet")
        rows = self.events.rows
        if not rows and not len(self.log):
            if self.run.is_begun():
                return State("data", "the data is there or being made; training has not begun")
            return State("waiting", f"waiting: {self.run.root} holds nothing of a run yet")
        step, planned = self.log.last_step, self.log.latest(m.TRAIN_STEPS_PLANNED.name)
        whole = None if planned is None else int(planned)
        last = next((row["kind"] for row in reversed(rows) if row["kind"] in (*_ENDS, *_BEGINS)), None)
        heard = self._heard()
        if last in _ENDS:
            return State(_ENDS[last], _ENDS[last], step, whole, heard=heard)
        silence = max(0.0, self._clock() - heard) if heard is not None else 0.0
        pace = self.pace()
        is_quiet = silence > max(_SILENT_SECONDS, _SILENT_STEPS * (pace or 0.0))
        if is_quiet and not is_held(self.run.train):
            words = f"no sign of life for {duration(silence)}: it was killed, or it is on another machine and hangs"
            return State("silent", words, step, whole, heard=heard)
        words = f"running, but no step for {duration(silence)}" if is_quiet else "running"
        return State("running", words, step, whole, self._left_seconds(step, whole), heard)

    def pace(self) -> float | None:
        """Seconds a step, the median of the last ones."""
        recent = self.log.tail(m.TRAIN_STEP_SECONDS.name, _RECENT)
        return float(np.median(recent)) if len(recent) else None

    def _left_seconds(self, step: int | None, planned: int | None) -> float | None:
        pace = self.pace()
        return None if step is None or planned is None or pace is None else max(0, planned - step) * pace

    def _heard(self) -> float | None:
        times = [self.log.last_time, *(event_time(row) for row in self.events.rows[-1:])]
        return max((at for at in times if at is not None), default=None)

    def shown_events(self) -> list[Event]:
        """The events with the words of their tooltips."""
        rows = self.events.rows
        if self._events[0] is not rows:
            self._events = (rows, [event(row) for row in rows])
        return self._events[1]

    def undone(self, name: str) -> list[list[tuple[float, float]]]:
        """Steps and values of a series that each rollback undid; of the loss and the gradient norm."""
        place = {m.TRAIN_LOSS.name: 1, m.TRAIN_GRAD_NORM.name: 2}.get(name)
        told = [row.get("losses") for row in self.events.rows if row["kind"] == "rollback"] if place else []
        return [
            [
                (float(each[0]), float(each[place]))
                for each in losses
                if isinstance(each, list) and len(each) == 3 and all(isinstance(one, int | float) for one in each)
            ]
            for losses in told
            if isinstance(losses, list) and place
        ]

    def funnel(self) -> Funnel | None:
        """The documents' funnel, if it is there."""
        path = self.run.documents / "funnel.json"
        return self._cached("funnel", [path], lambda files: read_funnel(files, self.run))

    def evaluation(self) -> Evaluation | None:
        """The evaluation at the end, if it is there."""
        path = self.run.eval / "results.json"
        return self._cached("evaluation", [path], lambda files: read_evaluation(files, self.run))

    def history(self) -> list[History]:
        """Scores over steps, if there are any."""
        paths = sorted(self.run.evals.glob("step-*/results.json"))
        return self._cached("history", paths, lambda files: read_history(files, self.run))

    def _cached(self, what: str, paths: Iterable[Path], read: Callable[[RunFiles], T]) -> T:
        """Reads again only what changed; what cannot be read is told of as long as that is so."""
        now = [(path, *_version(path)) for path in paths]
        if what not in self._kept or self._kept[what][0] != now:
            files = RunFiles(self.run.root)
            self._reads += 1
            self._kept[what] = (now, (read(files), files.problems))
        value, problems = self._kept[what][1]
        self.problems += [one for one in problems if one not in self.problems]
        return value


def _version(path: Path) -> tuple[int, int]:
    try:
        about = path.stat()
    except OSError:
        return 0, -1
    return about.st_mtime_ns, about.st_size


def event_time(row: dict[str, Any]) -> float | None:
    """Unix time of an event."""
    try:
        return datetime.fromisoformat(str(row.get("time"))).timestamp()
    except ValueError:
        return None


def duration(seconds: float) -> str:
    """Two units of time: `45 s`, `3 min 20 s`, `2 h 5 min`, `4 d 1 h`."""
    if not math.isfinite(seconds):
        return "—"
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    for large, small, names in ((86400, 3600, ("d", "h")), (3600, 60, ("h", "min")), (60, 1, ("min", "s"))):
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {names[0]}" + (f" {rest} {names[1]}" if rest else "")
    return f"{whole} s"
