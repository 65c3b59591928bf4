"""What the run page shows: its frame, and its sections as pieces of HTML that are drawn anew as the runs go on."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from headwater.core import metrics as m
from headwater.core.errors import ConfigError
from headwater.core.page import format as fmt
from headwater.core.page.frame import draw, environment
from headwater.core.page.line import Curve, key_glyph, line_chart

from ..report.charts.funnel import funnel_chart
from ..report.view import Funnel, History, colours
from . import charts
from .alerts import Found, from_log, from_prometheus
from .charts import Chart, Shown, View
from .watch import State, WatchedRun, duration

_TEMPLATES = files("headwater.monitor.live") / "templates"
_PARTS = files("headwater.monitor.report") / "templates"
SECTIONS = (
    ("runs", "Now"), ("alerts", "Alerts"), ("loss", "Loss"), ("optimizer", "Optimizer"), ("throughput", "Throughput"),
    ("evaluation", "Evaluation"), ("events", "Events"), ("funnel", "Funnel"), ("metrics", "More"),
)  # fmt: skip
_FIRST_SECONDS = 0.4
_MOST_SECONDS = 8.0
_ALERTS_SECONDS = 15.0
_RECENT = 64
_EVENTS = 500
_LOUD_PHASES = {"running": "above", "silent": "at", "stopped": "at", "halted": "below"}


@dataclass(frozen=True)
class Row:
    """A run in the table of runs.

    Attributes:
        shown: The run and its look.
        state: How it stands.
        loss: Mean of the last steps.
        validation: Last validation loss, nats a token.
        bits: The same in bits a byte of text.
        speed: Tokens a second, the median of the last steps.
        unread: The share of its log that is still to be read.
        ago: How long ago it was last heard of.
        left: How long it will take.
    """

    shown: Shown
    state: State
    loss: float | None
    validation: float | None
    bits: float | None
    speed: float | None
    unread: float
    ago: str
    left: str

    @property
    def pill(self) -> str:
        """CSS class of the state."""
        return _LOUD_PHASES.get(self.state.phase, "")

    @property
    def pace(self) -> float | None:
        """Seconds a step."""
        return self.shown.run.pace()


class RunPage:
    """The page of some runs. Safe for threads; its answers are drawn one at a time.

    Args:
        folders: The run folders; they need not exist yet.
        prometheus: Address of a Prometheus that is asked for the alerts; none: they are worked out from the logs.
        clock: Unix time.

    Raises:
        ConfigError: There are more runs than can be told apart, or one is given twice.
    """

    def __init__(
        self, folders: Sequence[Path], prometheus: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        if len(folders) > charts.MOST_RUNS:
            raise ConfigError("these are more runs than can be told apart", found=len(folders),
                              expected=f"at most {charts.MOST_RUNS}")  # fmt: skip
        whole = [folder.resolve() for folder in folders]
        if twice := sorted({str(folder) for folder in whole if whole.count(folder) > 1}):
            raise ConfigError("a run is given twice", found=", ".join(twice))
        runs = [WatchedRun(folder, name, clock) for folder, name in zip(folders, _names(whole), strict=True)]
        self._all, self._prometheus, self._clock = Shown.all_of(runs), prometheus, clock
        self._lock = threading.Lock()
        self._alerts: tuple[float, dict[str, list[Found]], str] = (-1.0, {}, "")
        self._drawn: tuple[Any, dict[str, str]] = (None, {})
        self._budget = _FIRST_SECONDS
        self._environment = environment(_TEMPLATES, _PARTS)
        self._environment.globals.update(key_glyph=key_glyph, duration=duration, samples=charts.table)

    @property
    def title(self) -> str:
        """The runs, by name."""
        names = [one.run.name for one in self._all]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    def frame(self) -> str:
        """The page without its sections, which its script asks for."""
        return draw(
            _TEMPLATES, "run", title=self.title, kind="Headwater run page", sections=SECTIONS, scripts=["run.js"],
            parts=[_PARTS], connects=True, shown=self._all,
        )  # fmt: skip

    def state(self, view: View, only: Sequence[int] | None = None, known: str = "") -> dict[str, Any]:
        """The sections as they are now, as JSON values.

        Args:
            view: What part of the runs is shown.
            only: Places of the runs that are shown; none: all.
            known: The digest that the page already shows.

        Returns:
            `digest`; `next_seconds`, when to ask again; `reading`, whether logs are still being read; and, unless the
            digest is the known one, `sections` (id → HTML, empty for none), `first` and `last` step, and `title`.
        """
        with self._lock:
            for one in self._all:
                one.run.refresh(self._budget / len(self._all))
            shown = [one for index, one in enumerate(self._all) if only is None or index in only]
            rows = [self._row(one) for one in shown]
            sections = self._sections(shown, rows, view)
            last = max((one.run.log.last_step or 0 for one in shown), default=0)
            reading = any(row.unread for row in rows)
            # Soon something to look at; then, while logs are long, more reading than drawing.
            self._budget = min(2 * self._budget, _MOST_SECONDS) if reading else _FIRST_SECONDS
            live = any(row.state.is_live for row in rows)
        digest = hashlib.sha256(repr((sorted(sections.items()), last)).encode()).hexdigest()[:16]
        answer = {"digest": digest, "reading": reading, "next_seconds": 0.05 if reading else 2.0 if live else 10.0}
        if digest != known:
            live_now = {row.shown.run.name for row in rows if row.state.is_live}
            firing = sum(one.standing == "firing" for name in live_now for one in self._alerts[1].get(name, []))
            title = f"{f'({firing}) ' if firing else ''}{self.title} · Headwater run page"
            answer |= {"sections": sections, "first": 0, "last": last, "title": title}
        return answer

    def _row(self, one: Shown) -> Row:
        log, state = one.run.log, one.run.state()
        losses, speeds = log.tail(m.TRAIN_LOSS.name, _RECENT), log.tail(m.TRAIN_THROUGHPUT.name, _RECENT)
        losses = losses[np.isfinite(losses)]
        return Row(
            one, state, float(losses.mean()) if len(losses) else None, log.latest(m.TRAIN_VALIDATION_LOSS.name),
            log.latest(m.TRAIN_VALIDATION_BPB.name), float(np.median(speeds)) if len(speeds) else None, one.run.unread,
            "" if state.heard is None else f"{duration(max(0.0, self._clock() - state.heard))} ago",
            "" if state.seconds_left is None else duration(state.seconds_left),
        )  # fmt: skip

    def _sections(self, shown: Sequence[Shown], rows: Sequence[Row], view: View) -> dict[str, str]:
        template = self._environment.get_template("sections.html.j2")
        module: Any = template.make_module({"alone": len(shown) == 1})
        mine = {one.run.name: one.run for one in shown}
        reading = any(row.unread for row in rows)
        alerts, whence = ({}, "") if reading else self._found_alerts()
        about = {
            "runs": module.runs(rows, [problem for run in mine.values() for problem in run.problems]),
            "alerts": module.alerts(
                {row.shown.run.name: alerts.get(row.shown.run.name, []) for row in rows},
                whence,
                [row.shown.run.name for row in rows if not row.state.is_live],
            ),
        }
        key = (view, tuple((name, run.version) for name, run in mine.items()))
        if self._drawn[0] != key:  # a poll with nothing new draws nothing
            self._drawn = (key, self._over_steps(module, shown, view))
        made = about | self._drawn[1]
        return {name: str(made[name]).strip() for name, _ in SECTIONS}

    def _over_steps(self, module: Any, shown: Sequence[Shown], view: View) -> dict[str, str]:
        """The sections that change with what was read only."""
        events = [(one, event) for one in shown for event in one.run.shown_events()]
        told = [pair for pair in events if pair[1].kind not in charts.ROUTINE]
        words = "Before clipping, and what the optimizer was told."
        rest = "Whatever else the logs follow over steps."
        return {
            "loss": self._loss(module, shown, view),
            "optimizer": self._pair(
                module, "Gradient norm and learning rate", words, [charts.GRAD_NORM, charts.LEARNING_RATE], shown, view
            ),
            "throughput": self._pair(module, "Throughput", "", [charts.THROUGHPUT, charts.STEP_SECONDS], shown, view),
            "evaluation": self._evaluation(module, shown, view),
            "events": module.events(_newest(told), len(told), _newest(events), len(events)) if events else "",
            "funnel": self._funnels(module, shown),
            "metrics": self._pair(module, "More metrics", rest, charts.further(shown), shown, view),
        }

    def _found_alerts(self) -> tuple[dict[str, list[Found]], str]:
        """The alerts of every run, and where they are from; kept for the interval of the rules."""
        now = time.monotonic()
        if now < self._alerts[0]:
            return self._alerts[1:]
        found: dict[str, list[Found]] = {}
        names = [one.run.name for one in self._all]
        whence = "worked out from the logs of the runs"
        if self._prometheus is not None:
            try:
                found, whence = from_prometheus(self._prometheus, names), f"asked of Prometheus at {self._prometheus}"
            except ConnectionError as error:
                whence = f"{error}. So they are worked out from the logs of the runs"
        if not found:
            found = {one.run.name: from_log(one.run) for one in self._all}
        self._alerts = (now + _ALERTS_SECONDS, found, whence)
        return found, whence

    def _loss(self, module: Any, shown: Sequence[Shown], view: View) -> str:
        drawn = charts.draw_loss(shown, view)
        if drawn is None:
            return ""
        events = charts.loss_events(shown)
        kinds = list(dict.fromkeys(event.kind for event in events))
        names = [charts.LOSS.name, m.TRAIN_VALIDATION_LOSS.name]
        undone = any(one.run.undone(charts.LOSS.name) for one in shown)
        validated = any(one.run.log.latest(names[1]) is not None for one in shown)
        return module.loss(drawn[0], shown, kinds, undone, validated, drawn[1], charts.table(names, shown, view))

    def _pair(
        self, module: Any, title: str, words: str, wanted: Sequence[Chart], shown: Sequence[Shown], view: View
    ) -> str:
        drawn = [(one, charts.draw(one, shown, view, width=view.half)) for one in wanted]
        there = [(one, chart) for one, chart in drawn if chart is not None]
        if not there:
            return ""
        names = [one.name for one, _ in there]
        if len(shown) == 1:
            tables = [(title, [one.title for one, _ in there], charts.table(names, shown, view))]
        else:
            runs = [one.run.name for one in shown]
            tables = [(one.title, runs, charts.table([one.name], shown, view)) for one, _ in there]
        return module.pair(title, words, [chart for _, chart in there], tables, shown)

    def _evaluation(self, module: Any, shown: Sequence[Shown], view: View) -> str:
        found: dict[tuple[str, str], list[tuple[Shown, History]]] = {}
        for one in shown:
            for history in one.run.history():
                found.setdefault((history.task, history.metric), []).append((one, history))
        drawn = [_history(number, group, view) for number, group in enumerate(found.values())]
        scores = [(one, evaluation) for one in shown if (evaluation := one.run.evaluation()) is not None]
        tables = [group for group in found.values()]
        return module.evaluation(drawn, tables, scores) if drawn or scores else ""

    def _funnels(self, module: Any, shown: Sequence[Shown]) -> str:
        """Runs on the same documents share a funnel."""
        groups: list[tuple[Funnel, list[str]]] = []
        for one in shown:
            funnel = one.run.funnel()
            if funnel is None:
                continue
            same = next((names for other, names in groups if other == funnel), None)
            if same is None:
                groups.append((funnel, [one.run.name]))
            else:
                same.append(one.run.name)
        drawn = [
            (funnel, names, colours(funnel.sources), funnel_chart(funnel, colours(funnel.sources), key=f"funnel-{at}"))
            for at, (funnel, names) in enumerate(groups)
        ]
        return module.funnel(drawn) if drawn else ""


def _names(folders: Sequence[Path]) -> list[str]:
    """A name for each folder: its own, with as many of those above it as it takes to tell them apart."""
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _newest(events: list[Any]) -> list[Any]:
    """The newest events of each run first."""
    return sorted(events[::-1], key=lambda pair: -pair[1].step)[:_EVENTS]


def _history(number: int, group: Sequence[tuple[Shown, History]], view: View) -> Markup:
    task, metric, share = group[0][1].task, group[0][1].metric, all(history.share for _, history in group)
    many = len(group) > 1
    curves: list[Curve] = []
    for one, history in group:
        kept = [
            (x, y) for x, y in zip(history.curve.x, history.curve.y, strict=True) if view.ends[0] <= x <= view.ends[1]
        ]
        name = one.run.name if many else metric
        curves.append(Curve(name, [x for x, _ in kept], [y for _, y in kept], colour=one.colour, dash=one.dash,
                            has_dots=True))  # fmt: skip
        if history.chance is not None and kept and not many:
            ends = [kept[0][0], kept[-1][0]]
            curves.append(Curve("chance", ends, [history.chance] * 2, is_reference=True, colour=3))
    return line_chart(
        curves, key=f"history-{number}", title=f"{task}, {metric}, over steps",
        label=f"{task.removeprefix('headwater_')} · {metric}", height=210, width=view.half, steps=view.steps,
        show=fmt.percent if share else fmt.general,
    )  # fmt: skip
