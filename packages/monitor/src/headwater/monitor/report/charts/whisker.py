"""Scores with their confidence intervals: a dot, a whisker, and the score of guessing as a tick."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from .. import format as fmt
from ..view import Score
from . import svg
from .scale import Scale, ticks

ROW = 46.0


def whisker_chart(scores: Sequence[Score], *, key: str) -> Markup:
    """One row a score on a common 0–1 axis."""
    return svg.responsive(lambda width, unique: _draw(scores, width, unique), key)


def _draw(scores: Sequence[Score], width: float, key: str) -> Markup:
    narrow = width < 600
    label = 8.0 if narrow else 230.0
    figure = 8.0 if narrow else 160.0
    row = ROW + 22 if narrow else ROW
    x = Scale(0.0, 1.0, label, width - figure)
    bottom = row * len(scores) + 6
    parts: list[Markup] = []
    for value in ticks(0.0, 1.0, 5):
        parts.append(svg.tag("line", x1=x(value), x2=x(value), y1=0, y2=bottom, class_="grid"))
        anchor = "start" if narrow and value == 0 else "end" if narrow and value > 0.99 else "middle"
        parts.append(svg.text(x(value), bottom + 18, fmt.percent(value, 0), class_="tick", text_anchor=anchor))
    for index, score in enumerate(scores):
        y = index * row + row / 2 + (12 if narrow else 0)
        name, metric = score.task, f"{score.metric} · {score.n:,} items"
        if narrow:
            parts.append(svg.text(0, y - 22, svg.shorten(name, 230, 13), class_="label strong plate"))
            parts.append(svg.text(width, y - 22, fmt.percent(score.value), class_="label strong", text_anchor="end"))
        else:
            parts.append(
                svg.text(label - 20, y - 2, svg.shorten(name, 205, 13), class_="label strong", text_anchor="end")
            )
            parts.append(
                svg.text(label - 20, y + 14, svg.shorten(metric, 205, 12), class_="label muted", text_anchor="end")
            )
            at = width - figure + 22
            parts.append(svg.text(at, y - 2, fmt.percent(score.value), class_="label strong"))
            interval = f"{fmt.percent(score.low)} – {fmt.percent(score.high)}"
            parts.append(svg.text(at, y + 14, interval, class_="label muted"))
        if score.chance is not None:
            tip = svg.tag("title", f"chance: {fmt.percent(score.chance)}")
            parts.append(
                svg.tag("line", tip, x1=x(score.chance), x2=x(score.chance), y1=y - 15, y2=y + 15, class_="chance")
            )
        tip = svg.tag(
            "title", f"{name} {score.metric}: {fmt.percent(score.value)}, 95% interval "
            f"{fmt.percent(score.low)} to {fmt.percent(score.high)}, {score.n:,} items",
        )  # fmt: skip
        low, high = x(max(0.0, score.low)), x(min(1.0, score.high))
        parts.append(svg.tag("line", tip, x1=low, x2=high, y1=y, y2=y, class_=f"whisker {score.verdict}"))
        for end in (low, high):
            parts.append(svg.tag("line", x1=end, x2=end, y1=y - 6, y2=y + 6, class_=f"whisker {score.verdict}"))
        parts.append(svg.tag("circle", tip, cx=x(score.value), cy=y, r=6, class_=f"score {score.verdict}"))
    words = ". ".join(
        f"{s.task} {s.metric}: {fmt.percent(s.value)}, interval {fmt.percent(s.low)} to {fmt.percent(s.high)}"
        + (f", chance {fmt.percent(s.chance)}" if s.chance is not None else "")
        for s in scores
    )
    return svg.drawing(width, bottom + 28, *parts, title="Evaluation scores with 95% intervals", desc=words, key=key)
