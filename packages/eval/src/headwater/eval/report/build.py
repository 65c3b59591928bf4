"""Makes the report of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headwater.core.storage import atomic_write
from headwater.eval.report import texts
from headwater.eval.report.pairs import pairs
from headwater.eval.report.read import find, history
from headwater.eval.report.render import names, render
from headwater.eval.report.view import View


@dataclass(frozen=True)
class Built:
    """What was written, and what it says."""

    page: Path
    view: View
    names: dict[str, str]


def build(
    place: Path,
    *,
    against: Path | None = None,
    output: Path | None = None,
    markdown: Path | None = None,
    junit: Path | None = None,
    theme: str = "auto",
    plain: bool = False,
) -> Built:
    """Writes the page, and Markdown and JUnit XML where they are asked for.

    The same evaluation gives the same bytes.

    Args:
        place: An evaluation's folder, or a run.
        against: Another one, to stand beside it.
        output: The page; by default `FOLDER.html` beside the evaluation's folder.
        markdown: The Markdown file.
        junit: The JUnit file.
        theme: `auto`, `light` or `dark`.
        plain: Whether the page holds its items as they are, not compressed.

    Raises:
        EvalError: There is no evaluation, or it cannot be read.
        StorageError: The disk refused.
    """
    source = find(place)
    other = find(against) if against is not None else None
    found = pairs(source.evaluated, other.evaluated) if other is not None else None
    view = View(source, history(source), other, found)
    called = names(view)
    page = output or source.page
    atomic_write(page, render(view, theme=theme, plain=plain))
    if markdown is not None:
        atomic_write(markdown, texts.markdown(view, called["this"], called["other"]))
    if junit is not None:
        atomic_write(junit, texts.junit(view))
    return Built(page, view, called)
