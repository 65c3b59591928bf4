"""The mixture: the share each source was given and the share that was actually drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from headwater.core.page import format as fmt
from headwater.core.page import svg
from headwater.core.page.line import Curve

from ..view import MixtureRow, StageRow

ROW = 62.0
_COLOURS = 6


def mixture_chart(rows: Sequence[MixtureRow], colours: Mapping[str, str], *, key: str) -> Markup:
    """Two bars a source on one scale: configured weight (outlined) over samples drawn (solid)."""
    return svg.responsive(lambda width, unique: _draw(rows, colours, width, unique), key)


def weight_curves(stages: Sequence[StageRow], colours: Mapping[str, str]) -> list[Curve]:
    """For each source its weight over the steps, level within a stage; at most one curve a colour, the heaviest."""
    totals: dict[str, float] = {}
    for stage in stages:
        for source, weight in stage.weights.items():
            totals[source] = totals.get(source, 0.0) + weight * (stage.last_step - stage.first_step + 1)
    chosen = sorted(sorted(totals, key=lambda source: (-totals[source], source))[:_COLOURS])
    steps = [float(step) for stage in stages for step in (stage.first_step, stage.last_step)]
    used: set[int] = set()
    curves: list[Curve] = []
    for source in chosen:
        colour = int(colours[source][1:])
        colour = colour if colour not in used else min(set(range(1, _COLOURS + 1)) - used)
        used.add(colour)
        shares = [stage.weights.get(source, 0.0) for stage in stages for _ in range(2)]
        curves.append(Curve(source, steps, shares, colour=colour, has_dots=False))
    return curves


def _draw(rows: Sequence[MixtureRow], colours: Mapping[str, str], width: float, key: str) -> Markup:
    narrow = width < 480
    label = 0.0 if narrow else 140.0
    figure = 104.0
    row = ROW + 20 if narrow else ROW
    room = width - label - figure
    most = max([share for line in rows for share in (line.weight, line.drawn or 0.0)], default=1.0) or 1.0
    parts: list[Markup] = []
    for index, line in enumerate(rows):
        y = index * row + (20.0 if narrow else 0.0) + 8.0
        if narrow:
            parts.append(svg.text(0, y - 6, svg.shorten(line.source, width, 13), class_="label strong"))
        else:
            name = svg.shorten(line.source, label - 16, 13)
            parts.append(svg.text(label - 14, y + 27, name, class_="label strong", text_anchor="end"))
        colour = colours[line.source]
        size = room * line.weight / most
        tip = svg.tag("title", f"{line.source}: configured weight {fmt.percent(line.weight, 2)}")
        parts.append(
            svg.tag("rect", tip, x=label, y=y, width=max(size, 1.0), height=18, rx=3, class_=f"ghost {colour}")
        )
        parts.append(svg.text(label + size + 8, y + 13.5, f"{fmt.percent(line.weight)} set", class_="label muted"))
        if line.drawn is not None:
            size = room * line.drawn / most
            tip = svg.tag(
                "title", f"{line.source}: {fmt.count(line.samples)} samples drawn, {fmt.percent(line.drawn, 2)}"
            )
            parts.append(
                svg.tag("rect", tip, x=label, y=y + 22, width=max(size, 1.0), height=18, rx=3, class_=f"fill {colour}")
            )
            parts.append(
                svg.text(label + size + 8, y + 35.5, f"{fmt.percent(line.drawn)} drawn", class_="label strong")
            )
    words = "; ".join(
        f"{line.source}: weight {fmt.percent(line.weight)}, drawn {fmt.percent(line.drawn)}" for line in rows
    )
    return svg.drawing(
        width, row * len(rows), *parts, title="Configured weights and samples drawn", desc=words, key=key
    )
