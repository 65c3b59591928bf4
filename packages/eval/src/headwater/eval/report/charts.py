"""Drawings that only the report of an evaluation has: a heat map of needles found, and a whisker inside a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from markupsafe import Markup

from headwater.core.page import format as fmt
from headwater.core.page import svg
from headwater.core.page.scale import Scale
from headwater.eval.results import Sample

_NUMBERS_FIT = 34.0
"""Pixels of a cell's width below which its number is left out."""


@dataclass
class Cell:
    """The items of one length and depth: how many, how many points they got, how many prompts were cut."""

    items: int = 0
    points: float = 0.0
    truncated: int = 0

    @property
    def mean(self) -> float:
        """Mean of `correct`."""
        return self.points / self.items


@dataclass(frozen=True)
class Grid:
    """Needles found, by length of the haystack in tokens and depth of the needle, 0 (beginning) to 1 (end)."""

    cells: Mapping[tuple[float, float], Cell] = field(default_factory=dict[tuple[float, float], Cell])

    @property
    def lengths(self) -> list[float]:
        """Lengths, ascending."""
        return sorted({length for length, _ in self.cells})

    @property
    def depths(self) -> list[float]:
        """Depths, ascending."""
        return sorted({depth for _, depth in self.cells})

    @property
    def items(self) -> int:
        """Items of all cells."""
        return sum(cell.items for cell in self.cells.values())

    @property
    def truncated(self) -> int:
        """Items whose prompt was cut."""
        return sum(cell.truncated for cell in self.cells.values())

    def by_length(self) -> list[tuple[float, Cell]]:
        """Each length, all depths together."""
        return [(length, _sum(c for (at, _), c in self.cells.items() if at == length)) for length in self.lengths]


def grid(samples: Iterable[Sample]) -> Grid | None:
    """The grid of the items that stand in one; none where there are no such items."""
    cells: dict[tuple[float, float], Cell] = {}
    for sample in samples:
        place = sample.cell or {}
        if "length" not in place or "depth" not in place or sample.correct is None:
            continue
        cell = cells.setdefault((place["length"], place["depth"]), Cell())
        cell.items += 1
        cell.points += sample.correct
        cell.truncated += sample.truncated
    return Grid(cells) if cells else None


def heat_map(found: Grid, *, key: str, title: str, wide: float = svg.WIDE) -> Markup:
    """Depth over length, a cell the darker the more of its needles were found."""
    return svg.responsive(lambda width, unique: _draw(found, width, unique, title), key, wide=wide)


def _draw(found: Grid, width: float, key: str, title: str) -> Markup:
    lengths, depths = found.lengths, found.depths
    left, top = 52.0, 22.0
    wide = min(96.0, (width - left) / len(lengths))
    high = 34.0 if len(depths) <= 12 else 24.0
    bottom = top + high * len(depths)
    parts: list[Markup] = [svg.text(2, 12, "depth of the needle", class_="axis-title")]
    for row, depth in enumerate(depths):
        y = top + row * high
        parts.append(svg.text(left - 8, y + high / 2 + 4, fmt.percent(depth, 0), class_="tick", text_anchor="end"))
        for column, length in enumerate(lengths):
            cell = found.cells.get((length, depth))
            if cell is not None:
                parts.append(_cell(cell, length, depth, left + column * wide, y, wide, high))
    stride = -(-len(lengths) // max(1, int((width - left) / 44)))
    for column, length in enumerate(lengths):
        if column % stride == 0:
            at = left + (column + 0.5) * wide
            parts.append(
                svg.text(
                    at,
                    bottom + 17,
                    fmt.count(length) if length < 1e5 else fmt.short(length),
                    class_="tick",
                    text_anchor="middle",
                )
            )
    parts.append(svg.text(left, bottom + 36, "length of the haystack, tokens", class_="axis-title"))
    words = ". ".join(f"{fmt.count(n)} tokens: {fmt.percent(cell.mean, 0)} found" for n, cell in found.by_length())
    return svg.drawing(width, bottom + 42, *parts, title=title, desc=words, key=key)


def _cell(cell: Cell, length: float, depth: float, x: float, y: float, wide: float, high: float) -> Markup:
    words = f"{fmt.count(length)} tokens, depth {fmt.percent(depth, 0)}: "
    words += f"{cell.points:g} of {fmt.plural(cell.items, 'item')}"
    if cell.truncated:
        words += f", {cell.truncated:,} prompts cut"
    box = {"x": x + 1, "y": y + 1, "width": wide - 2, "height": high - 2, "rx": 4}
    parts = [svg.tag("title", words), svg.tag("rect", **box, class_="heat-back")]
    parts.append(svg.tag("rect", **box, class_="heat", fill_opacity=0.5 * cell.mean))
    if cell.truncated:
        parts.append(svg.tag("rect", **box, class_="heat-cut"))
    if wide >= _NUMBERS_FIT:
        middle = {"class_": "label", "text_anchor": "middle"}
        parts.append(svg.text(x + wide / 2, y + high / 2 + 4, f"{100 * cell.mean:.0f}", **middle))
    return svg.group(*parts, class_="cell")


def inline_whisker(
    value: float, low: float, high: float, mark: float | None, verdict: str, ends: tuple[float, float] = (0.0, 1.0)
) -> Markup:
    """A dot and a whisker small enough for a table's cell."""
    width, height = 150.0, 18.0
    x = Scale(*ends, 5.0, width - 5.0)
    a, b, y = x(max(ends[0], low)), x(min(ends[1], high)), height / 2
    parts = [svg.tag("line", x1=5, x2=width - 5, y1=y, y2=y, class_="grid")]
    if mark is not None:
        parts.append(svg.tag("line", x1=x(mark), x2=x(mark), y1=2, y2=height - 2, class_="chance thin"))
    parts.append(svg.tag("line", x1=a, x2=b, y1=y, y2=y, class_=f"whisker {verdict}"))
    parts.append(svg.tag("circle", cx=x(min(max(value, ends[0]), ends[1])), cy=y, r=4, class_=f"score {verdict}"))
    return svg.tag("svg", *parts, class_="inline", viewBox=f"0 0 {width:g} {height:g}", aria_hidden="true")


def _sum(cells: Iterable[Cell]) -> Cell:
    total = Cell()
    for cell in cells:
        total.items += cell.items
        total.points += cell.points
        total.truncated += cell.truncated
    return total
