"""The charts of the run page: series of the logs of some runs, as curves that `core.page.line` draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from headwater.core import metrics as m
from headwater.core.page import format as fmt
from headwater.core.page.downsample import extremes, means
from headwater.core.page.line import LOUD, QUIET, Curve, Event, line_chart

from .watch import WatchedRun

_POINTS = 1200
_LEAST_POINTS = 240
_MEANS = 120
_TABLE_ROWS = 24
_DOTS = 60
_DASHES = ("", "8 4", "2 3", "9 3 2 3")
_COLOURS = 6
MOST_RUNS = _COLOURS * len(_DASHES)
"""Runs that can be told apart by colour and dash."""


@dataclass(frozen=True)
class View:
    """What part is shown, and how.

    Attributes:
        width: Of the content in CSS pixels.
        steps: First and last step; none: all.
        log: Whether losses and gradient norms are on a logarithmic axis.
    """

    width: float = 1040.0
    steps: tuple[float, float] | None = None
    log: bool = False

    @property
    def half(self) -> float:
        """Width of a chart that has another beside it, where there is room for two."""
        return (self.width - 28.0) / 2 if self.width > 700 else self.width

    @property
    def ends(self) -> tuple[float, float]:
        """First and last step, infinite where there is none."""
        return self.steps or (-math.inf, math.inf)


@dataclass(frozen=True)
class Shown:
    """A run on the page.

    Attributes:
        run: The run.
        colour: 1 to 6.
        dash: SVG's pattern of its lines; empty for whole ones.
    """

    run: WatchedRun
    colour: int
    dash: str

    @property
    def beside(self) -> int:
        """Another colour, for what is drawn beside its own lines."""
        return 3 if self.colour != 3 else 1

    @classmethod
    def all_of(cls, runs: Iterable[WatchedRun]) -> list[Shown]:
        """Every run with a look of its own."""
        return [
            cls(run, index % _COLOURS + 1, _DASHES[index // _COLOURS % len(_DASHES)]) for index, run in enumerate(runs)
        ]


@dataclass(frozen=True)
class Chart:
    """A series to draw.

    Attributes:
        name: The series, as in the log.
        title: Heading.
        label: Of the vertical axis, with the unit.
        log: Whether it may be drawn on a logarithmic axis.
        zero: Whether its axis starts at 0.
        show: Writes a value.
    """

    name: str
    title: str
    label: str
    log: bool = False
    zero: bool = True
    show: Callable[[float], str] = fmt.general


LOSS = Chart(m.TRAIN_LOSS.name, "Loss", "loss, nats a token", log=True, zero=False)
GRAD_NORM = Chart(m.TRAIN_GRAD_NORM.name, "Gradient norm", "gradient norm before clipping", log=True)
LEARNING_RATE = Chart(m.TRAIN_LEARNING_RATE.name, "Learning rate", "learning rate")
THROUGHPUT = Chart(m.TRAIN_THROUGHPUT.name, "Throughput", "tokens a second, all ranks together", show=fmt.short)
STEP_SECONDS = Chart(m.TRAIN_STEP_SECONDS.name, "Time of a step", "seconds a step")
CHARTED = {
    one.name for one in (LOSS, GRAD_NORM, LEARNING_RATE, THROUGHPUT, STEP_SECONDS)
} | {m.TRAIN_VALIDATION_LOSS.name}  # fmt: skip
#: Events of every run, which a reader who looks for trouble need not see.
ROUTINE = {*QUIET, "checkpoint", "validation", "profile", "eval"}
#: Gauges that are no figure to follow: limits, times and switches.
_NO_CURVE = {
    m.TRAIN_STEP.name, m.TRAIN_STEPS_PLANNED.name, m.TRAIN_ENDED.name, m.TRAIN_HALTED.name,
    m.TRAIN_STEP_TIMESTAMP.name, m.TRAIN_CHECKPOINT_TIMESTAMP.name, m.TRAIN_RANK_HEARTBEAT.name,
    m.TRAIN_MEMORY_LIMIT.name, m.TRAIN_DEVICE_MEMORY_LIMIT.name,
}  # fmt: skip

#: Unit → how a metric's name ends with it, and how people say it.
_UNITS = {
    "1": ("", ""), "bytes": ("_bytes", ""), "s": ("_seconds", ", seconds"),
    "tokens/s": ("_tokens_per_second", ", tokens a second"), "bits/byte": ("_bits_per_byte", ", bits a byte"),
    "nats/token": ("", ", nats a token"),
}  # fmt: skip


def draw(chart: Chart, shown: Sequence[Shown], view: View, *, width: float, height: float = 230) -> Markup | None:
    """A chart of one series of all runs; none where no run has it."""
    curves = _curves(chart.name, shown, view)
    if not curves:
        return None
    return line_chart(
        curves, key=_key(chart.name), title=f"{chart.title} over steps", label=chart.label, zero=chart.zero,
        log=chart.log and view.log, height=height, show=chart.show, steps=_steps(shown, view), width=width,
    )  # fmt: skip


def draw_loss(shown: Sequence[Shown], view: View) -> tuple[Markup, bool] | None:
    """Training and validation losses, what rollbacks undid, and the events; and whether means are drawn."""
    alone = len(shown) == 1
    curves = _curves(LOSS.name, shown, view, "train" if alone else "")
    dense = any(not curve.is_read for curve in curves)
    for one in shown:
        xs, ys = one.run.log.points(m.TRAIN_VALIDATION_LOSS.name, *view.ends)
        name = "validation" if alone else f"{one.run.name} validation"
        colour = one.beside if alone else one.colour
        curves.append(Curve(name, *extremes(xs, ys, 300), colour=colour, dash="" if alone else "2 3",
                            has_dots=len(xs) <= _DOTS))  # fmt: skip
    events = loss_events(shown)
    if not any(curves) and not events:
        return None
    drawn = line_chart(
        curves, key="loss", title="Loss over steps", label=LOSS.label, events=events, log=view.log, height=340,
        steps=_steps(shown, view), width=view.width,
    )  # fmt: skip
    return drawn, dense


def loss_events(shown: Sequence[Shown]) -> list[Event]:
    """The events to mark: of one run all that a reader may look for, of several the ones that change a curve."""
    if len(shown) == 1:
        run = shown[0].run
        quiet = {*QUIET, "profile", *(["validation"] if run.log.latest(m.TRAIN_VALIDATION_LOSS.name) else [])}
        return [event for event in run.shown_events() if event.kind not in quiet]
    return [
        Event(event.kind, event.step, f"{one.run.name} · {event.detail}", event.documents, event.documents_total)
        for one in shown
        for event in one.run.shown_events()
        if event.kind in (*LOUD, "skip")
    ]


def further(shown: Sequence[Shown]) -> list[Chart]:
    """The gauges of the logs that have no chart of their own, in the order of the table of metrics."""
    there = {name for one in shown for name in one.run.log.names}
    charts: list[Chart] = []
    for metric in m.TABLE.values():
        if metric.kind == "counter" or metric.name in CHARTED | _NO_CURVE:
            continue
        for name in sorted(one for one in there if one == metric.name or one.startswith(metric.name + "{")):
            _, labels = m.parse_series(name)
            show = fmt.bytes_ if metric.unit == "bytes" else fmt.general
            suffix, unit = _UNITS.get(metric.unit, ("", f", {metric.unit}"))
            words = metric.name.removeprefix("headwater_").removeprefix("train_").removesuffix(suffix)
            title = " · ".join([words.replace("_", " "), *labels.values()])
            zero = metric.unit in ("bytes", "s")
            charts.append(Chart(name, title[0].upper() + title[1:], title + unit, zero=zero, show=show))
    return charts


def table(names: Sequence[str], shown: Sequence[Shown], view: View) -> list[list[float | None]]:
    """A few dozen rows that stand for curves: a step, then each series of each run, its value there or just before."""
    series = [one.run.log.points(name, *view.ends) for one in shown for name in names]
    ends = [(xs[0], xs[-1]) for xs, _ in series if len(xs)]
    if not ends:
        return []
    first, last = min(a for a, _ in ends), max(b for _, b in ends)
    steps = np.unique(np.linspace(first, last, _TABLE_ROWS).astype(np.int64))
    columns: list[list[float | None]] = [steps.tolist()]
    for xs, ys in series:
        if not len(xs):
            columns.append([None] * len(steps))
            continue
        at = np.searchsorted(xs, steps, side="right") - 1
        there = (at >= 0) & (steps <= xs[-1])
        columns.append([value if known else None for value, known in zip(ys[at].tolist(), there, strict=True)])
    return [list(row) for row in zip(*columns, strict=True)]


def _limit(shown: Sequence[Shown]) -> int:
    """Points drawn of a curve at most."""
    return max(_LEAST_POINTS, round(_POINTS / math.sqrt(max(1, len(shown)))))


def _curves(name: str, shown: Sequence[Shown], view: View, alone: str = "") -> list[Curve]:
    """The curves of a series. Of many points, the lowest and highest lie pale behind the means."""
    limit = _limit(shown)
    alone = alone or m.parse_series(name)[0].name.removeprefix("headwater_train_").replace("_", " ")
    first, last = view.ends
    curves: list[Curve] = []
    for one in shown:
        label = alone if len(shown) == 1 else one.run.name
        xs, ys = one.run.log.points(name, first, last)
        look: dict[str, Any] = {"colour": one.colour, "has_dots": False}
        dense = len(xs) > limit
        raw = extremes(xs, ys, limit)
        curves.append(Curve(label, *raw, **look, dash="" if dense else one.dash, is_faint=dense))
        if dense:
            curves.append(Curve(f"{label}, mean", *means(xs, ys, _MEANS), **look, dash=one.dash, is_read=False))
        for undone in one.run.undone(name):
            inside = [(x, y) for x, y in undone if first <= x <= last]
            words = "undone" if len(shown) == 1 else f"{label}, undone"
            curves.append(Curve(words, [x for x, _ in inside], [y for _, y in inside], **look, dash="3 2",
                                is_faint=True))  # fmt: skip
    return [curve for curve in curves if curve]


def _steps(shown: Sequence[Shown], view: View) -> tuple[float, float] | None:
    """The steps that all charts of the page have in common."""
    if view.steps is not None:
        return view.steps
    last = max((one.run.log.last_step or 0 for one in shown), default=0)
    return (0.0, float(last)) if last else None


def _key(name: str) -> str:
    return "chart-" + "".join(letter if letter.isalnum() else "-" for letter in name)
