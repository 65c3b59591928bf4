"""The lineage: artifacts as boxes in layers, an arrow from each parent to its child.

Layers are longest paths from the roots; edges that cross layers are routed through invisible dummy boxes and the
order inside a layer comes from a few barycentre sweeps (Sugiyama, Tagawa and Toda, 1981), which is plenty for the
tens of artifacts of one run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from headwater.core.page import format as fmt
from headwater.core.page import svg

from ..view import Node

BOX_W, BOX_H, GAP_X, GAP_Y, LANE = 142.0, 66.0, 34.0, 18.0, 20.0


@dataclass(eq=False)
class _Cell:
    """A box, or a place where a long edge passes (`node` is None)."""

    layer: int
    node: Node | None
    row: float = 0.0
    y: float = 0.0
    before: list[_Cell] = field(default_factory=list)
    after: list[_Cell] = field(default_factory=list)

    @property
    def height(self) -> float:
        return BOX_H if self.node else LANE


def lineage_chart(nodes: Sequence[Node], *, key: str) -> Markup:
    """Draws the graph left to right at its natural size; the page lets it scroll inside its frame."""
    layers = _layout(nodes)
    height = max((sum(c.height + GAP_Y for c in layer) for layer in layers), default=0.0) + 8
    for layer in layers:
        y = (height - sum(c.height + GAP_Y for c in layer) + GAP_Y) / 2
        for cell in layer:
            cell.y = y
            y += cell.height + GAP_Y
    width = len(layers) * (BOX_W + GAP_X) - GAP_X + 4
    parts = [_edge(cell, child) for layer in layers for cell in layer for child in cell.after]
    parts += [_lane(cell) for layer in layers for cell in layer if cell.node is None]
    parts += [_box(cell, cell.node) for layer in layers for cell in layer if cell.node]
    arrow = svg.tag(
        "defs",
        svg.tag(
            "marker", svg.tag("path", d="M0 0L7 3.5L0 7Z", class_="arrow"),
            id=f"{key}-arrow", markerWidth=7, markerHeight=7, refX=6.5, refY=3.5, orient="auto",
        ),
    )  # fmt: skip
    words = "; ".join(f"{n.kind} {n.name} from {', '.join(n.parents) or 'outside'}" for n in nodes)
    drawing = svg.drawing(
        width, height, arrow, *parts, title="Artifacts of this run and their parents", desc=words, key=key
    )
    return svg.tag("div", drawing, class_="natural", style=f"width:{width:.0f}px")


def _layout(nodes: Sequence[Node]) -> list[list[_Cell]]:
    by_id = {node.id: node for node in nodes}
    depth: dict[str, int] = {}

    def layer_of(name: str, trail: frozenset[str] = frozenset()) -> int:
        # A damaged run can claim a cycle; a report must still be drawn.
        if name not in depth:
            known = [p for p in by_id[name].parents if p in by_id and p not in trail and p != name]
            depth[name] = 1 + max((layer_of(p, trail | {name}) for p in known), default=-1)
        return depth[name]

    cells = {node.id: _Cell(layer_of(node.id), node) for node in nodes}
    layers: list[list[_Cell]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for cell in cells.values():
        layers[cell.layer].append(cell)
    lanes: dict[tuple[str, int], _Cell] = {}  # edges of one parent share the lane through a layer
    for node in nodes:
        for parent in node.parents:
            if parent not in cells or cells[parent].layer >= cells[node.id].layer:
                continue
            cell = cells[parent]
            for layer in range(cells[parent].layer + 1, cells[node.id].layer):
                if (parent, layer) not in lanes:
                    lanes[parent, layer] = _Cell(layer, None)
                    layers[layer].append(lanes[parent, layer])
                _join(cell, lanes[parent, layer])
                cell = lanes[parent, layer]
            _join(cell, cells[node.id])
    for layer in layers:
        for row, cell in enumerate(layer):
            cell.row = row - (len(layer) - 1) / 2
    for sweep in range(6):
        forward = sweep % 2 == 0
        for layer in layers if forward else reversed(layers):
            near = {id(c): (c.before if forward else c.after) for c in layer}
            layer.sort(key=lambda c: sum(n.row for n in near[id(c)]) / len(near[id(c)]) if near[id(c)] else c.row)
            for row, cell in enumerate(layer):
                cell.row = row - (len(layer) - 1) / 2
    return layers


def _join(first: _Cell, second: _Cell) -> None:
    if second not in first.after:
        first.after.append(second)
        second.before.append(first)


def _left(cell: _Cell) -> float:
    return cell.layer * (BOX_W + GAP_X) + 2


def _edge(start: _Cell, end: _Cell) -> Markup:
    x, y = _left(start) + BOX_W, start.y + start.height / 2
    nx, ny = _left(end), end.y + end.height / 2
    middle = (x + nx) / 2
    path = f"M{x:.1f} {y:.1f}C{middle:.1f} {y:.1f} {middle:.1f} {ny:.1f} {nx:.1f} {ny:.1f}"
    return svg.tag("path", d=path, class_="edge" + (" last" if end.node else ""), fill="none")


def _lane(cell: _Cell) -> Markup:
    y = cell.y + cell.height / 2
    return svg.tag("line", x1=_left(cell), x2=_left(cell) + BOX_W, y1=y, y2=y, class_="edge")


def _box(cell: _Cell, node: Node) -> Markup:
    x, y = _left(cell), cell.y
    tip = (
        f"{node.kind} {node.name}\n{node.digest}\n{node.producer}\n"
        f"{fmt.plural(node.files, 'file')}, {fmt.bytes_(node.bytes)}"
    )
    return svg.group(
        svg.tag("title", tip),
        svg.tag("rect", x=x, y=y, width=BOX_W, height=BOX_H, rx=8, class_=f"box {node.kind}"),
        svg.tag("rect", x=x, y=y + 12, width=4, height=BOX_H - 24, rx=2, class_=f"stripe {node.kind}"),
        svg.text(x + 13, y + 20, svg.shorten(node.name, BOX_W - 18, 12.5), class_="label strong"),
        svg.text(x + 13, y + 38, svg.shorten(node.fact or node.kind, BOX_W - 20, 12), class_="label muted"),
        svg.text(x + 13, y + 55, node.digest[:14], class_="label mono muted"),
        class_="node",
    )
