"""Scores with their confidence intervals: a dot, a whisker, and the score of guessing as a tick."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from headwater.core.page import format as fmt
from headwater.core.page import svg
from headwater.core.page.scale import Scale, ticks

ROW = 46.0


@dataclass(frozen=True)
class Score:
    """One metric of one task with its confidence interval; `chance` is the score of guessing."""

    task: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    chance: float | None
    few_shot: int = 0
    group: bool = False

    @property
    def is_share(self) -> bool:
        """Whether it is a share, so that it fits the common axis of 0–1."""
        return 0.0 <= self.value <= 1.0 and "bits" not in self.metric

    @property
    def verdict(self) -> str:
        """Where the interval stands against guessing: `above`, `below`, `at` chance, or `unknown`."""
        if self.chance is None:
            return "unknown"
        if self.low > self.chance:
            return "above"
        return "below" if self.high < self.chance else "at"


@dataclass(frozen=True)
class Axis:
    """What the axis spans, how its values are written, and what the tick of each score stands for."""

    low: float = 0.0
    high: float = 1.0
    show: Callable[[float], str] = fmt.percent
    tick: Callable[[float], str] = lambda value: fmt.percent(value, 0)
    mark: str = "chance"


def whisker_chart(
    scores: Sequence[Score], *, key: str, title: str = "Evaluation scores with 95% intervals", axis: Axis | None = None
) -> Markup:
    """One row a score on a common axis, by default from 0 to 1."""
    return svg.responsive(lambda width, unique: _draw(scores, axis or Axis(), width, unique, title), key)


def _draw(scores: Sequence[Score], axis: Axis, width: float, key: str, title: str) -> Markup:
    narrow = width < 600
    label = 8.0 if narrow else 260.0
    figure = 8.0 if narrow else 190.0
    row = ROW + 38 if narrow else ROW
    x = Scale(axis.low, axis.high, label, width - figure)
    bottom = row * len(scores) + 6
    parts: list[Markup] = []
    for value in ticks(axis.low, axis.high, 5):
        parts.append(svg.tag("line", x1=x(value), x2=x(value), y1=0, y2=bottom, class_="grid"))
        place = (value - axis.low) / (axis.high - axis.low)
        anchor = "start" if narrow and place < 0.01 else "end" if narrow and place > 0.99 else "middle"
        parts.append(svg.text(x(value), bottom + 18, axis.tick(value), class_="tick", text_anchor=anchor))
    for index, score in enumerate(scores):
        y = index * row + row / 2 + (19 if narrow else 0)
        parts += (
            _labels_above(score, axis, y, width)
            if narrow
            else _labels_beside(score, axis, y, label - 20, width - figure + 22)
        )
        parts += _marks(score, axis, y, x)
    words = ". ".join(
        f"{s.task} {s.metric}: {axis.show(s.value)}, interval {axis.show(s.low)} to {axis.show(s.high)}"
        + (f", {axis.mark} {axis.show(s.chance)}" if s.chance is not None else "")
        for s in scores
    )
    return svg.drawing(width, bottom + 28, *parts, title=title, desc=words, key=key)


def _labels_above(score: Score, axis: Axis, y: float, width: float) -> list[Markup]:
    words = svg.shorten(f"{score.metric} · {_interval(score, axis)}", width, 12)
    return [
        svg.text(0, y - 36, svg.shorten(score.task, 260, 13), class_="label strong"),
        svg.text(width, y - 36, axis.show(score.value), class_="label strong", text_anchor="end"),
        svg.text(0, y - 20, words, class_="label muted"),
    ]


def _labels_beside(score: Score, axis: Axis, y: float, left: float, right: float) -> list[Markup]:
    return [
        svg.text(left, y - 2, svg.shorten(score.task, left, 13), class_="label strong", text_anchor="end"),
        svg.text(left, y + 14, svg.shorten(score.metric, left, 12), class_="label muted", text_anchor="end"),
        svg.text(right, y - 2, axis.show(score.value), class_="label strong"),
        svg.text(right, y + 14, _interval(score, axis), class_="label muted"),
    ]


def _marks(score: Score, axis: Axis, y: float, x: Scale) -> list[Markup]:
    """The chance tick, the whisker with its two ends, and the dot, back to front."""
    words = f"{score.task} {score.metric}: {axis.show(score.value)}, 95% interval {_interval(score, axis)}"
    low, high, tip = x(max(axis.low, score.low)), x(min(axis.high, score.high)), svg.tag("title", words)
    marks: list[Markup] = []
    if score.chance is not None:
        at, chance = x(score.chance), svg.tag("title", f"{axis.mark}: {axis.show(score.chance)}")
        marks.append(svg.tag("line", chance, x1=at, x2=at, y1=y - 15, y2=y + 15, class_="chance"))
    marks.append(svg.tag("line", tip, x1=low, x2=high, y1=y, y2=y, class_=f"whisker {score.verdict}"))
    marks += [
        svg.tag("line", x1=end, x2=end, y1=y - 6, y2=y + 6, class_=f"whisker {score.verdict}") for end in (low, high)
    ]
    return [*marks, svg.tag("circle", tip, cx=x(score.value), cy=y, r=6, class_=f"score {score.verdict}")]


def _interval(score: Score, axis: Axis) -> str:
    return f"{axis.show(score.low)} – {axis.show(score.high)} · {fmt.plural(score.n, 'item')}"
