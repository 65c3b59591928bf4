"""The lineage: artifacts as boxes in layers, an arrow from each parent to its child.

Layers are longest paths from the roots; edges that cross layers are routed through invisible dummy boxes and the
order inside a layer comes from a few barycentre sweeps (Sugiyama, Tagawa and Toda, 1981), which is plenty for the
tens of artifacts of one run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from .. import format as fmt
from ..view import Node
from . import svg

BOX_W, BOX_H, GAP_X, GAP_Y, LANE = 132.0, 66.0, 34.0, 18.0, 20.0


@dataclass
class _Cell:
    """A box, or a place where a long edge passes (``node`` is None)."""

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
    layers, chains = _layout(nodes)
    height = max((sum(c.height + GAP_Y for c in layer) for layer in layers), default=0.0) + 8
    for layer in layers:
        y = (height - sum(c.height + GAP_Y for c in layer) + GAP_Y) / 2
        for cell in layer:
            cell.y = y
            y += cell.height + GAP_Y
    width = len(layers) * (BOX_W + GAP_X) - GAP_X + 4
    parts = [_edge(chain) for chain in chains]
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


def _layout(nodes: Sequence[Node]) -> tuple[list[list[_Cell]], list[list[_Cell]]]:
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
    chains: list[list[_Cell]] = []
    for node in nodes:
        for parent in node.parents:
            if parent not in cells or cells[parent].layer >= cells[node.id].layer:
                continue
            chain = [cells[parent]]
            for layer in range(cells[parent].layer + 1, cells[node.id].layer):
                dummy = _Cell(layer, None)
                layers[layer].append(dummy)
                chain.append(dummy)
            chain.append(cells[node.id])
            for first, second in zip(chain, chain[1:], strict=False):
                first.after.append(second)
                second.before.append(first)
            chains.append(chain)
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
    return layers, chains


def _edge(chain: Sequence[_Cell]) -> Markup:
    def left(cell: _Cell) -> float:
        return cell.layer * (BOX_W + GAP_X) + 2

    start = chain[0]
    x, y = left(start) + BOX_W, start.y + start.height / 2
    path = f"M{x:.1f} {y:.1f}"
    for cell in chain[1:]:
        nx, ny = left(cell), cell.y + cell.height / 2
        middle = (x + nx) / 2
        path += f"C{middle:.1f} {y:.1f} {middle:.1f} {ny:.1f} {nx:.1f} {ny:.1f}"
        x, y = nx, ny
        if cell.node is None:
            x += BOX_W
            path += f"L{x:.1f} {y:.1f}"
    first, last = chain[0].node, chain[-1].node
    words = f"{first.name if first else ''} → {last.name if last else ''}"
    return svg.tag("path", svg.tag("title", words), d=path, class_="edge", fill="none")


def _box(cell: _Cell, node: Node) -> Markup:
    x, y = cell.layer * (BOX_W + GAP_X) + 2, cell.y
    tip = (
        f"{node.kind} {node.name}\n{node.digest}\n{node.producer}\n"
        f"{fmt.plural(node.files, 'file')}, {fmt.bytes_(node.bytes)}"
    )
    name = node.name if node.name != node.kind else node.kind
    return svg.group(
        svg.tag("title", tip),
        svg.tag("rect", x=x, y=y, width=BOX_W, height=BOX_H, rx=8, class_=f"box {node.kind}"),
        svg.tag("rect", x=x, y=y + 12, width=4, height=BOX_H - 24, rx=2, class_=f"stripe {node.kind}"),
        svg.text(x + 13, y + 20, svg.shorten(name, BOX_W - 20, 13), class_="label strong"),
        svg.text(x + 13, y + 38, svg.shorten(node.fact or node.kind, BOX_W - 20, 12), class_="label muted"),
        svg.text(x + 13, y + 55, node.digest[:14], class_="label mono muted"),
        class_="node",
    )
