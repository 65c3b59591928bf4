"""The frame of a self-contained page: head, style, navigation, theme switch and script around a template's content."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, cast

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from headwater.core.page import format as fmt
from headwater.core.theme import variables

_TEMPLATES = files("headwater.core.page") / "templates"


def draw(
    templates: Traversable,
    name: str,
    *,
    title: str,
    kind: str,
    sections: Sequence[tuple[str, str]],
    theme: str = "auto",
    scripts: Sequence[str] = (),
    data: Mapping[str, str] | None = None,
    **values: object,
) -> str:
    """A page as one string that needs no other file.

    The template extends `frame.html.j2` and fills its blocks `head` and `main`. Text is escaped by the template engine
    and by `svg`; a content security policy that admits only the page's own script, by hash, stands behind that.

    Args:
        templates: Folder with `NAME.html.j2` and, for what only this page shows, `NAME.css`.
        name: Of the template.
        title: Of the document.
        kind: What page it is, after the title.
        sections: Id and name of each section, for the navigation.
        theme: `auto`, `light` or `dark`.
        scripts: Names of further scripts in `templates`.
        data: Id → content of script elements that are never run; `embed` makes such content.
        **values: For the template.
    """
    sources = {"frame.html.j2": read(_TEMPLATES, "frame.html.j2"), "page": read(templates, f"{name}.html.j2")}
    environment = Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters = cast("dict[str, Any]", environment.filters)  # pyright: ignore[reportUnknownMemberType]
    filters.update(
        count=fmt.count, short=fmt.short, bytes=fmt.bytes_, percent=fmt.percent, fixed=fmt.fixed, general=fmt.general,
        signed=fmt.signed,
    )  # fmt: skip
    script = read(_TEMPLATES, "page.js") + "".join(read(templates, each) for each in scripts)
    style = variables() + read(_TEMPLATES, "page.css") + read(templates, f"{name}.css")
    return environment.get_template("page").render(
        title=title, kind=kind, sections=sections, theme=theme, plural=fmt.plural,
        script=Markup(script), style=Markup(style),  # noqa: S704  our own files, not input
        data={key: Markup(content) for key, content in (data or {}).items()},  # noqa: S704  from `embed`
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(), **values,
    )  # fmt: skip


def read(folder: Traversable, name: str) -> str:
    """A file that came with the package."""
    return (folder / name).read_text(encoding="utf-8")
