"""SVG elements as escaped markup, and the two-size wrapper every chart uses."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup, escape

#: Drawing widths in CSS pixels. A chart is drawn once for each and CSS shows the one that fits, because a single
#: drawing scaled down to a phone has unreadable 5-pixel text.
WIDE, NARROW = 1040, 350


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """Builds one element; text and attribute values are escaped, `None` attributes are left out.

    Attribute names are written as Python identifiers: `stroke_width` becomes `stroke-width` and a trailing
    underscore is dropped (`class_`).
    """
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is None:
            continue
        text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
        parts.append(f' {key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    parts += [">", *(str(escape(child)) for child in children), f"</{name}>"]
    return Markup("".join(parts))  # noqa: S704  each part is escaped, or a name of ours


def group(*children: object, **attributes: object) -> Markup:
    """A `<g>` element."""
    return tag("g", *children, **attributes)


def text(x: float, y: float, content: object, **attributes: object) -> Markup:
    """A `<text>` element at (x, y)."""
    return tag("text", content, x=float(x), y=float(y), **attributes)


def drawing(
    width: float, height: float, *children: object, title: str, desc: str, key: str, data: str | None = None
) -> Markup:
    """The `<svg>` root with an accessible name and description.

    Args:
        width: In CSS pixels at natural size.
        height: As `width`.
        *children: What is drawn, back to front.
        title: Name of the chart, for assistive technology.
        desc: What the chart says, in a sentence.
        key: Unique in the page; the ids of title and description are built from it.
        data: JSON that the page's script reads for the tooltip; such a chart can be walked with the arrow keys.
    """
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", desc, id=f"{key}-desc"),
        *children,
        class_="chart",
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_labelledby=f"{key}-title",
        aria_describedby=f"{key}-desc",
        data_plot=data,
        tabindex=None if data is None else "0",
    )


def responsive(draw: Callable[[float, str], Markup], key: str, wide: float = WIDE, narrow: float = NARROW) -> Markup:
    """Draws a chart for wide and for narrow screens; `draw` gets the width and a unique key."""
    return (
        tag("div", draw(wide, f"{key}-w"), class_="only-wide")
        + tag("div", draw(narrow, f"{key}-n"), class_="only-narrow")
    )  # fmt: skip


def shorten(label: str, pixels: float, size: float = 12.0) -> str:
    """Cuts a label to fit; a glyph of the page's sans-serif face is about 0.56 em wide."""
    room = max(3, int(pixels / (size * 0.56)))
    return label if len(label) <= room else label[: room - 1] + "…"
