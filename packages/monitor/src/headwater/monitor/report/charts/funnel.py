"""The funnel: how many documents are left after each operator, by source, and how many it removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from headwater.core.page import format as fmt
from headwater.core.page import svg

from ..view import Funnel, Step

ROW, BAR = 44.0, 24.0


@dataclass(frozen=True)
class _Bar:
    """A bar: documents left by source, documents removed, and a short remark."""

    name: str
    left: Mapping[str, int]
    removed: int = 0
    note: str = ""


def funnel_chart(funnel: Funnel, colours: Mapping[str, str], *, key: str) -> Markup:
    """One bar an operator on a common scale: what is left, stacked by source, then what this operator removed."""
    bars = [_Bar(step.operator, step.left, step.removed, _note(step)) for step in funnel.steps]
    if bars[0].removed > 0:  # else the first operator's bar is what was collected
        bars.insert(0, _Bar("collected", funnel.collected))
    total = max(1, funnel.documents_in)
    words = (
        f"{fmt.count(funnel.documents_in)} documents came in, {fmt.count(funnel.documents_out)} were kept. "
        "The table below has every figure."
    )

    def draw(width: float, unique: str) -> Markup:
        narrow = width < 600
        row, start, stop = (ROW + 16, 0.0, width) if narrow else (ROW, 190.0, width - 250.0)
        parts: list[Markup] = []
        for index, bar in enumerate(bars):
            top = index * row
            y = top + (22.0 if narrow else (row - BAR) / 2)
            parts += _labels_above(bar, top, width) if narrow else _labels_beside(bar, y, start, stop)
            parts += _segments(bar, colours, y, start, (stop - start) / total, stop)
        title = "Documents left after each operator"
        return svg.drawing(width, row * len(bars), *parts, title=title, desc=words, key=unique)

    return svg.responsive(draw, key)


def _note(step: Step) -> str:
    if step.removed > 0:
        top = max(step.reasons.items(), key=lambda item: item[1], default=None)
        return f"−{fmt.count(step.removed)}" + (f" · {top[0].replace('_', ' ')}" if top else "")
    return f"{fmt.count(step.changed)} changed" if step.changed else ""


def _labels_above(bar: _Bar, top: float, width: float) -> list[Markup]:
    left = f"{fmt.count(sum(bar.left.values()))} left"
    note = svg.shorten(bar.note, 130, 12)
    return [
        svg.text(0, top + 14, svg.shorten(bar.name, 130, 13), class_="label strong"),
        svg.text(width - 76, top + 14, note, class_="label muted", text_anchor="end"),
        svg.text(width, top + 14, left, class_="label", text_anchor="end"),
    ]


def _labels_beside(bar: _Bar, y: float, start: float, stop: float) -> list[Markup]:
    name = svg.shorten(bar.name, start - 18, 13)
    return [
        svg.text(start - 14, y + 16.5, name, class_="label strong", text_anchor="end"),
        svg.text(stop + 14, y + 16.5, fmt.count(sum(bar.left.values())), class_="label strong"),
        svg.text(stop + 78, y + 16.5, svg.shorten(bar.note, 172, 12), class_="label muted"),
    ]


def _segments(bar: _Bar, colours: Mapping[str, str], y: float, start: float, scale: float, stop: float) -> list[Markup]:
    """The track, one segment a source, and what was removed; `scale` is pixels a document."""
    parts = [svg.tag("rect", x=start, y=y, width=stop - start, height=BAR, rx=4, class_="track")]
    x = start
    for source, documents in bar.left.items():
        tip = svg.tag("title", f"{bar.name} · {source}: {fmt.plural(documents, 'document')} left")
        size = documents * scale
        if documents > 0:
            look = f"fill {colours[source]}"
            parts.append(svg.tag("rect", tip, x=x, y=y, width=max(size, 0.75), height=BAR, class_=look))
        x += size
    if bar.removed > 0:
        tip = svg.tag("title", f"{bar.name}: {bar.note}")
        parts.append(svg.tag("rect", tip, x=x, y=y, width=max(bar.removed * scale, 1.5), height=BAR, class_="removed"))
    return parts
