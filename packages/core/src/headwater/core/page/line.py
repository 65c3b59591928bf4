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
from headwater.core.page.scale import Scale, bounds, log_bounds, log_ticks, ticks

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
        is_faint: It is drawn under the others and pale: steps that were undone, values behind their mean.
        colour: Number of its colour, 1 to 6; none: by its place among the curves.
        dash: SVG's pattern of its line; empty: as `is_reference` says.
        has_dots: Whether each point has a dot; none: as its place among the curves says.
        is_read: Whether the tooltip names it.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    intervals: Sequence[tuple[float, float] | None] = ()
    is_reference: bool = False
    is_faint: bool = False
    colour: int | None = None
    dash: str = ""
    has_dots: bool | None = None
    is_read: bool = True

    def __bool__(self) -> bool:
        return len(self.x) > 0


@dataclass(frozen=True)
class Event:
    """One line of events.jsonl.

    Attributes:
        detail: What the tooltip says, parts apart by ` · `.
        documents: URLs of the documents that it is about, the first of them.
        documents_total: How many those are.
    """

    kind: str
    step: int
    detail: str = ""
    documents: tuple[str, ...] = ()
    documents_total: int = 0

    @property
    def words(self) -> str:
        """What the tooltip says, a line for what happened and one for each document."""
        first = f"step {self.step:,}: {self.kind.replace('_', ' ')}" + (f" · {self.detail}" if self.detail else "")
        if not self.documents:
            return first
        more = self.documents_total - len(self.documents)
        rest = [f"and {more:,} more"] if more > 0 else []
        return "\n".join([first, f"{fmt.plural(self.documents_total, 'document')}:", *self.documents, *rest])


@dataclass(frozen=True)
class Axes:
    """What the two axes of a chart show.

    Attributes:
        label: What the vertical one shows, with its unit.
        zero: Whether it starts at 0.
        log: Whether it is logarithmic; what is not above 0 is then not drawn.
        show: Writes one of its values.
        steps: First and last step; none: those of the curves and events.
    """

    label: str
    zero: bool = False
    log: bool = False
    show: Callable[[float], str] = fmt.general
    steps: tuple[float, float] | None = None


def line_chart(
    curves: Sequence[Curve],
    *,
    key: str,
    title: str,
    label: str,
    events: Sequence[Event] = (),
    zero: bool = False,
    log: bool = False,
    height: float = 320,
    wide: float = svg.WIDE,
    show: Callable[[float], str] = fmt.general,
    steps: tuple[float, float] | None = None,
    width: float | None = None,
) -> Markup:
    """Draws curves that share both axes.

    Unless a curve says otherwise, the first is colour 1 and drawn as a line; later ones are drawn as lines with dots
    (few, exact points such as validations). Long curves keep the extremes of each bucket, so a spike of one step stays
    visible.

    Args:
        curves: What to draw; empty ones are left out.
        key: Unique in the page.
        title: Name of the chart, for assistive technology.
        label: What the vertical axis shows, with its unit.
        events: Marked in rows of their own below the steps.
        zero: Whether the vertical axis starts at 0.
        log: Whether it is logarithmic.
        height: Of the plot in pixels, without the rows of marks.
        wide: Width in pixels on a wide screen.
        show: Writes a value of the vertical axis.
        steps: First and last step to show; none: all.
        width: Width in pixels, where it is known: then there is one drawing, not one each for wide and narrow screens.
    """
    present = [curve for curve in curves if curve]
    marks = [event for event in events if event.kind not in QUIET]
    if steps is not None:
        marks = [event for event in marks if steps[0] <= event.step <= steps[1]]
    axes = Axes(label, zero, log, show, steps)

    def draw(across: float, unique: str) -> Markup:
        return _draw(present, marks, across, height if across > 500 else min(height, 260), unique, title, axes)

    return svg.responsive(draw, key, wide=wide) if width is None else draw(width, key)


def _draw(
    curves: Sequence[Curve], events: Sequence[Event], width: float, height: float, key: str, title: str, axes: Axes
) -> Markup:
    lane = LANE * len({event.kind for event in events})
    height += lane
    left, right, top, bottom = 54.0, width - 14.0, 26.0, height - 40.0 - lane
    limit = 1200 if width > 600 else 500
    drawn_at = [extremes(curve.x, curve.y, limit) for curve in curves]
    x, y = _scales(curves, drawn_at, events, axes, (left, right), (bottom, top))
    parts = _frame(x, y, axes, width, height)
    under, over = _marks(events, x, top, bottom, bottom + 40.0)
    data: list[dict[str, object]] = []
    lines: list[Markup] = []
    for index, (curve, (px, py)) in enumerate(zip(curves, drawn_at, strict=True)):
        pairs = [(a, b) for a, b in zip(px, py, strict=True) if not axes.log or b > 0]
        if not pairs:
            continue
        behind, front = _curve(curve, index, pairs, x, y, axes)
        under += behind
        lines += front
        if curve.is_read:
            data.append({
                "name": curve.name, "x": [a for a, _ in pairs], "y": [float(f"{b:.5g}") for _, b in pairs],
                **({"within": True} if curve.is_faint else {}),
            })  # fmt: skip

    box = {"left": left, "right": right, "top": top, "bottom": bottom, "x0": x.low, "x1": x.high}
    payload = json.dumps({"box": box, "y0": y.low, "y1": y.high, "series": data}, separators=(",", ":"))
    return svg.drawing(
        width, height, *parts, *under, *lines, *over, title=title, desc=describe(curves), key=key, data=payload
    )


def _scales(
    curves: Sequence[Curve], drawn_at: Sequence[tuple[list[float], list[float]]], events: Sequence[Event], axes: Axes,
    across: tuple[float, float], up: tuple[float, float],
) -> tuple[Scale, Scale]:  # fmt: skip
    ys = [b for _, py in drawn_at for b in py]
    ys += [end for curve in curves for ends in curve.intervals if ends is not None for end in ends]
    low, high = log_bounds(ys) if axes.log else bounds(ys, zero=axes.zero)
    if axes.steps is not None:
        return Scale(*axes.steps, *across), Scale(low, high, *up, log=axes.log)
    xs = [a for px, _ in drawn_at if px for a in (px[0], px[-1])] + [float(event.step) for event in events]
    first, last = min(xs, default=0.0), max(xs, default=1.0)
    return Scale(0.0 if first <= last * 0.2 else first, last, *across), Scale(low, high, *up, log=axes.log)


def _frame(x: Scale, y: Scale, axes: Axes, width: float, height: float) -> list[Markup]:
    """Axes, grid and their words."""
    left, right, top, bottom = x.start, x.stop, y.stop, y.start
    parts: list[Markup] = [svg.text(2.0, 12.0, axes.label, class_="axis-title")]
    most = 5 if bottom - top > 130 else 4
    for value in log_ticks(y.low, y.high, most) if axes.log else ticks(y.low, y.high, most):
        parts.append(svg.tag("line", x1=left, x2=right, y1=y(value), y2=y(value), class_="grid"))
        parts.append(svg.text(left - 8, y(value) + 4, axes.show(value), class_="tick", text_anchor="end"))
    far = max(abs(x.low), abs(x.high))
    # A stretch of a few steps far from the first needs them in full.
    exact = x.high - x.low < far / 200
    for value in ticks(x.low, x.high, (8 if width > 600 else 4) // (2 if exact else 1)):
        parts.append(svg.tag("line", x1=x(value), x2=x(value), y1=bottom, y2=bottom + 4, class_="axis"))
        anchor = "end" if x(value) > right - 12 else "middle"
        words = fmt.count(value) if exact else fmt.short(value)
        parts.append(svg.text(x(value), bottom + 18, words, class_="tick", text_anchor=anchor))
    parts.append(svg.tag("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    parts.append(svg.text(right, bottom + 34, "step", class_="axis-title", text_anchor="end"))
    return parts


def _curve(
    curve: Curve, index: int, pairs: Sequence[tuple[float, float]], x: Scale, y: Scale, axes: Axes
) -> tuple[list[Markup], list[Markup]]:
    """What is drawn of a curve under the others, and over them."""
    look = f"c{index + 1}" if curve.colour is None else f"s{curve.colour}"
    path = "M" + "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in pairs)
    dash = curve.dash or ("7 5" if curve.is_reference else None)
    kind = f"line {look} faint" if curve.is_faint else f"line {look}"
    line = svg.tag("path", d=path, class_=kind, fill="none", stroke_dasharray=dash)
    if curve.is_faint or curve.is_reference:
        return [line], []
    over = [line]
    for at, ends in zip(curve.x, curve.intervals, strict=False):
        if ends is not None:
            words = f"step {at:,.0f}: 95% interval {axes.show(ends[0])} to {axes.show(ends[1])}"
            place = {"x1": x(at), "x2": x(at), "y1": y(ends[0]), "y2": y(ends[1])}
            over.append(svg.tag("line", svg.tag("title", words), **place, class_=f"interval {look}"))
    has_dots = (index > 0 or bool(curve.intervals)) if curve.has_dots is None else curve.has_dots
    if has_dots or len(pairs) == 1:
        over += [
            svg.tag(
                "circle", svg.tag("title", f"step {a:,.0f}: {curve.name} {axes.show(b)}"),
                cx=x(a), cy=y(b), r=3.5, class_=f"dot {look}",
            )
            for a, b in pairs
        ]  # fmt: skip
    return [], over


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
            tip = svg.tag("title", event.words)
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
