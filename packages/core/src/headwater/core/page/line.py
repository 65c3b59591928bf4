"""Curves over training steps, with events as marks in a lane of their own under the plot."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from headwater.core.page import format as fmt
from headwater.core.page import svg
from headwater.core.page.downsample import extremes
from headwater.core.page.scale import Scale, bounds, ticks

#: Most marks drawn of one kind of event; more would only paint the lane solid.
MARKS = 120
#: Events that change how the curve is to be read: they also get a line through the plot.
LOUD = ("resume", "nonfinite", "stop", "spike", "rollback", "halt", "stall")
#: Height of the row of marks of one kind of event, in pixels.
LANE = 18.0
#: Events that every run has and that no reader looks for.
QUIET = ("start", "finish", "metrics", "checkpoint_deleted")


@dataclass(frozen=True)
class Curve:
    """One line of a chart; `x` is the training step.

    Attributes:
        intervals: Ends of each point's interval, or none.
        is_reference: It is a level to compare with: drawn under the others, dashed and without dots.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    intervals: Sequence[tuple[float, float] | None] = ()
    is_reference: bool = False

    def __bool__(self) -> bool:
        return len(self.x) > 0


@dataclass(frozen=True)
class Event:
    """One line of events.jsonl; `detail` is what the tooltip says."""

    kind: str
    step: int
    detail: str = ""


def line_chart(
    curves: Sequence[Curve],
    *,
    key: str,
    title: str,
    label: str,
    events: Sequence[Event] = (),
    zero: bool = False,
    height: float = 320,
    wide: float = svg.WIDE,
    show: Callable[[float], str] = fmt.general,
) -> Markup:
    """Draws curves that share both axes.

    The first curve is colour 1 and drawn as a line; later ones are drawn as lines with dots (few, exact points such
    as validations). Long curves keep the extremes of each bucket, so a spike of one step stays visible.

    Args:
        curves: What to draw; empty ones are left out.
        key: Unique in the page.
        title: Name of the chart, for assistive technology.
        label: What the vertical axis shows, with its unit.
        events: Marked in rows of their own below the steps.
        zero: Whether the vertical axis starts at 0.
        height: Of the plot in pixels, without the rows of marks.
        wide: Width in pixels on a wide screen.
        show: Writes a value of the vertical axis.
    """
    present = [curve for curve in curves if curve]
    marks = [event for event in events if event.kind not in QUIET]

    def draw(width: float, unique: str) -> Markup:
        return _draw(
            present, marks, width, height if width > 500 else min(height, 260), unique, title, label, zero, show
        )

    return svg.responsive(draw, key, wide=wide)


def _draw(
    curves: Sequence[Curve],
    events: Sequence[Event],
    width: float,
    height: float,
    key: str,
    title: str,
    label: str,
    zero: bool,
    show: Callable[[float], str],
) -> Markup:
    lane = LANE * len({event.kind for event in events})
    ys = [y for curve in curves for y in curve.y]
    ys += [end for curve in curves for ends in curve.intervals if ends is not None for end in ends]
    xs = [x for curve in curves for x in curve.x] + [float(event.step) for event in events]
    low, high = bounds(ys, zero=zero)
    height += lane
    left, right, top, bottom = 54.0, width - 14.0, 26.0, height - 40.0 - lane
    x = Scale(0.0 if min(xs, default=0.0) <= max(xs, default=1.0) * 0.2 else min(xs), max(xs, default=1.0), left, right)
    y = Scale(low, high, bottom, top)

    parts: list[Markup] = [svg.text(2.0, 12.0, label, class_="axis-title")]
    for value in ticks(low, high, 5 if height > 200 else 4):
        parts.append(svg.tag("line", x1=left, x2=right, y1=y(value), y2=y(value), class_="grid"))
        parts.append(svg.text(left - 8, y(value) + 4, show(value), class_="tick", text_anchor="end"))
    for value in ticks(x.low, x.high, 8 if width > 600 else 4):
        parts.append(svg.tag("line", x1=x(value), x2=x(value), y1=bottom, y2=bottom + 4, class_="axis"))
        anchor = "end" if x(value) > right - 12 else "middle"
        parts.append(svg.text(x(value), bottom + 18, fmt.short(value), class_="tick", text_anchor=anchor))
    parts.append(svg.tag("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    parts.append(svg.text(right, bottom + 34, "step", class_="axis-title", text_anchor="end"))

    under, over = _marks(events, x, top, bottom, bottom + 40.0)
    data: list[dict[str, object]] = []
    drawn: list[Markup] = []
    for index, curve in enumerate(curves):
        px, py = extremes(curve.x, curve.y, 1200 if width > 600 else 500)
        if not px:
            continue
        path = "M" + "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in zip(px, py, strict=True))
        dashes = "7 5" if curve.is_reference else None
        line = svg.tag("path", d=path, class_=f"line c{index + 1}", fill="none", stroke_dasharray=dashes)
        (under if curve.is_reference else drawn).append(line)
        for at, ends in zip(curve.x, curve.intervals, strict=False):
            if ends is not None:
                words = f"step {at:,.0f}: 95% interval {show(ends[0])} to {show(ends[1])}"
                drawn.append(
                    svg.tag(
                        "line", svg.tag("title", words), x1=x(at), x2=x(at), y1=y(ends[0]), y2=y(ends[1]),
                        class_=f"interval c{index + 1}",
                    )
                )  # fmt: skip
        if not curve.is_reference and (index > 0 or len(px) == 1 or curve.intervals):
            drawn += [
                svg.tag(
                    "circle", svg.tag("title", f"step {a:,.0f}: {curve.name} {show(b)}"),
                    cx=x(a), cy=y(b), r=3.5, class_=f"dot c{index + 1}",
                )
                for a, b in zip(px, py, strict=True)
            ]  # fmt: skip
        data.append({"name": curve.name, "x": px, "y": [float(f"{value:.5g}") for value in py]})

    box = {"left": left, "right": right, "top": top, "bottom": bottom, "x0": x.low, "x1": x.high}
    payload = json.dumps({"box": box, "y0": low, "y1": high, "series": data}, separators=(",", ":"))
    return svg.drawing(
        width, height, *parts, *under, *drawn, *over, title=title, desc=describe(curves), key=key, data=payload
    )


def _marks(
    events: Sequence[Event], x: Scale, top: float, bottom: float, lane: float
) -> tuple[list[Markup], list[Markup]]:
    """Lines to go under the curves, and glyphs for the lane."""
    by_kind: dict[str, list[Event]] = {}
    for event in events:
        by_kind.setdefault(event.kind, []).append(event)
    under: list[Markup] = []
    over: list[Markup] = []
    for row, (kind, group) in enumerate(by_kind.items()):
        y = lane + LANE * (row + 0.5)
        stride = math.ceil(len(group) / MARKS)
        for event in group[::stride]:
            at = x(min(max(float(event.step), x.low), x.high))
            words = f"step {event.step:,}: {kind.replace('_', ' ')}" + (f" · {event.detail}" if event.detail else "")
            tip = svg.tag("title", words)
            if kind in LOUD:
                under.append(svg.tag("line", tip, x1=at, x2=at, y1=top, y2=bottom, class_=f"mark-line {kind}"))
            hit = svg.tag("circle", cx=at, cy=y, r=9, class_="hit")
            over.append(svg.group(tip, hit, glyph(kind, at, y), class_="mark"))
    return under, over


def glyph(kind: str, x: float, y: float) -> Markup:
    """The mark of a kind of event; shape as well as colour tells them apart."""
    if kind == "checkpoint":
        return svg.tag("rect", x=x - 4, y=y - 4, width=8, height=8, class_="glyph checkpoint")
    if kind == "validation":
        return svg.tag("circle", cx=x, cy=y, r=3.5, class_="glyph validation")
    if kind == "resume":
        return svg.tag(
            "path", d=f"M{x - 4:.1f} {y - 5:.1f}L{x + 5:.1f} {y:.1f}L{x - 4:.1f} {y + 5:.1f}Z", class_="glyph resume"
        )
    shape = f"M{x:.1f} {y - 5.5:.1f}L{x + 5.5:.1f} {y + 4.5:.1f}L{x - 5.5:.1f} {y + 4.5:.1f}Z"
    return svg.tag("path", d=shape, class_=f"glyph {kind}")


def key_glyph(kind: str) -> Markup:
    """The mark alone, for a legend."""
    return svg.tag("svg", glyph(kind, 7, 7), viewBox="0 0 14 14", class_="key", aria_hidden="true")


def describe(curves: Sequence[Curve]) -> str:
    """One sentence for readers who cannot see the drawing."""
    words: list[str] = []
    for curve in curves:
        finite = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)]
        if finite:
            words.append(
                f"{curve.name}: from {fmt.general(finite[0][1])} at step {finite[0][0]:,.0f} "
                f"to {fmt.general(finite[-1][1])} at step {finite[-1][0]:,.0f}, "
                f"lowest {fmt.general(min(y for _, y in finite))}"
            )
    return ". ".join(words) + "." if words else "No values."
