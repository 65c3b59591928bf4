"""The funnel: how many documents are left after each operator, by source, and how many it removed."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from .. import format as fmt
from ..view import Funnel
from . import svg

ROW, BAR = 44.0, 24.0


def funnel_chart(funnel: Funnel, colours: Mapping[str, str], *, key: str) -> Markup:
    """One bar an operator on a common scale: what is left, stacked by source, then what this operator removed."""
    return svg.responsive(lambda width, unique: _draw(funnel, colours, width, unique), key)


def _draw(funnel: Funnel, colours: Mapping[str, str], width: float, key: str) -> Markup:
    narrow = width < 600
    row = ROW + 16 if narrow else ROW
    label = 0.0 if narrow else 190.0
    figures = 0.0 if narrow else 250.0
    left, room = label, width - label - figures
    total = max(1, funnel.documents_in)
    sources = funnel.sources
    parts: list[Markup] = []

    def bar(index: int, name: str, left_over: dict[str, int], removed: int, note: str) -> None:
        top = index * row
        y = top + (22.0 if narrow else (row - BAR) / 2)
        kept = sum(left_over.values())
        x = left
        if narrow:
            parts.append(svg.text(0, top + 14, svg.shorten(name, 190, 13), class_="label strong"))
            figure = f"{fmt.count(kept)}" + (f"  −{fmt.count(removed)}" if removed else "")
            parts.append(svg.text(width, top + 14, figure, class_="label", text_anchor="end"))
        else:
            parts.append(
                svg.text(label - 14, y + 16.5, svg.shorten(name, 172, 13), class_="label strong", text_anchor="end")
            )
        parts.append(svg.tag("rect", x=left, y=y, width=room, height=BAR, rx=4, class_="track"))
        for source in sources:
            size = room * left_over.get(source, 0) / total
            if size <= 0:
                continue
            tip = svg.tag("title", f"{name} · {source}: {fmt.count(left_over[source])} documents left")
            parts.append(
                svg.tag("rect", tip, x=x, y=y, width=max(size, 0.75), height=BAR, class_=f"fill {colours[source]}")
            )
            x += size
        if removed > 0:
            tip = svg.tag("title", f"{name} removed {fmt.count(removed)}{note}")
            size = max(room * removed / total, 1.5)
            parts.append(svg.tag("rect", tip, x=x, y=y, width=size, height=BAR, class_="removed"))
        if not narrow:
            at = width - figures + 14
            parts.append(svg.text(at, y + 16.5, fmt.count(kept), class_="label strong"))
            if removed > 0:
                words = f"−{fmt.count(removed)}{note}"
                parts.append(svg.text(at + 64, y + 16.5, svg.shorten(words, figures - 78, 12), class_="label muted"))

    bar(0, "collected", _collected(funnel), 0, "")
    for index, step in enumerate(funnel.steps, start=1):
        top = max(step.reasons.items(), key=lambda item: item[1], default=None)
        note = f" · {top[0].replace('_', ' ')}" if top and step.removed > 0 else ""
        bar(index, step.operator, dict(step.left), step.removed, note)
    height = row * (len(funnel.steps) + 1)
    return svg.drawing(
        width, height, *parts,
        title="Documents left after each operator",
        desc=f"{fmt.count(funnel.documents_in)} documents came in, {fmt.count(funnel.documents_out)} were kept. "
        "The table below has every figure.",
        key=key,
    )  # fmt: skip


def _collected(funnel: Funnel) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in funnel.rows:
        found.setdefault(line.source, line.documents_in)
    return found
