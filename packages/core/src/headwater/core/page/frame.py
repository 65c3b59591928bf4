"""The frame of a self-contained page: head, style, navigation, theme switch and script around a template's content."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, cast

from jinja2 import Environment, FunctionLoader, StrictUndefined
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
    parts: Sequence[Traversable] = (),
    connects: bool = False,
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
        parts: Folders of further templates that it takes from.
        connects: Whether its script may ask the server that it came from.
        **values: For the template.
    """
    script = read(_TEMPLATES, "page.js") + "".join(read(templates, each) for each in scripts)
    style = variables() + read(_TEMPLATES, "page.css") + read(templates, f"{name}.css")
    return environment(templates, *parts).get_template(f"{name}.html.j2").render(
        title=title, kind=kind, sections=sections, theme=theme,
        script=Markup(script), style=Markup(style),  # noqa: S704  our own files, not input
        data={key: Markup(content) for key, content in (data or {}).items()},  # noqa: S704  from `embed`
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(), connects=connects, **values,
    )  # fmt: skip


def environment(*folders: Traversable) -> Environment:
    """Templates of folders, the first that has a name, and of the frame; what they write is escaped.

    They may write numbers with the functions of `format`.
    """

    def source(name: str) -> str | None:
        found = next((folder / name for folder in (*folders, _TEMPLATES) if (folder / name).is_file()), None)
        return None if found is None else found.read_text(encoding="utf-8")

    made = Environment(
        loader=FunctionLoader(source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters = cast("dict[str, Any]", made.filters)  # pyright: ignore[reportUnknownMemberType]
    filters.update(
        count=fmt.count, short=fmt.short, bytes=fmt.bytes_, percent=fmt.percent, fixed=fmt.fixed, general=fmt.general,
        signed=fmt.signed,
    )  # fmt: skip
    made.globals["plural"] = fmt.plural  # pyright: ignore[reportUnknownMemberType]
    return made


def read(folder: Traversable, name: str) -> str:
    """A file that came with the package."""
    return (folder / name).read_text(encoding="utf-8")
