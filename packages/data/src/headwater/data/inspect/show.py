"""Samples in a terminal: colours where there is one, the same words with signs around them where there is none."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from headwater.core.console import size
from headwater.data.inspect.evidence import evidence
from headwater.data.inspect.passages import Evidence, Mark, Passage, visible
from headwater.data.inspect.select import Found

_STYLES: dict[Mark, str] = {
    "": "", "hit": "black on yellow", "removed": "white on red", "added": "black on green", "gap": "dim italic",
}  # fmt: skip
_SIGNS: dict[Mark, tuple[str, str]] = {
    "": ("", ""), "hit": ("[[", "]]"), "removed": ("[-", "-]"), "added": ("{+", "+}"), "gap": ("", ""),
}  # fmt: skip
_OUTCOMES = {"keep": "kept by", "change": "changed by", "reject": "set aside by"}
PLAIN_WIDTH = 160
NARROW = 100
"""Terminals of fewer columns show two versions one below the other."""


def show(title: str, samples: Sequence[Found], matches: dict[str, Found], most: int | None) -> None:
    """Prints samples on stdout."""
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else PLAIN_WIDTH, highlight=False, soft_wrap=not terminal)
    for place, document in enumerate(samples, 1):
        console.print(_head(f"{title} {place} of {len(samples)}", document, terminal))
        console.print(_body(evidence(document, matches, most), terminal, console.width))
        console.print()


def verdict_line(document: Found) -> str:
    """Which operator decided what, and the figures: one line."""
    if not document.operator:
        return f"kept by all: {', '.join(verdict['operator'] for verdict in document.verdicts)}"
    mine = (document.operator, document.reason)
    outcome = next((v["outcome"] for v in document.verdicts if (v["operator"], v["reason"]) == mine), "reject")
    words = [_OUTCOMES[outcome], document.operator, document.reason and f"({document.reason})"]
    detail = "" if document.detail[:1] in ("{", "[") else document.detail
    return " ".join(filter(None, words)) + (f": {detail}" if detail else "")


def as_json(document: Found, matches: dict[str, Found], most: int | None) -> dict[str, Any]:
    """A sample for programs, with the passages that people are shown."""
    shown = evidence(document, matches, most)
    return {
        "id": document.id, "source": document.source, "url": document.url, "warc_file": document.warc_file,
        "warc_offset": document.warc_offset, "language": document.language,
        "text_bytes": document.text_bytes, "kept": document.kept, "operator": document.operator,
        "reason": document.reason, "detail": document.detail, "verdicts": list(document.verdicts),
        "text": document.text if most is None else None, "notes": list(shown.notes),
        "passages": [
            {"title": passage.title, "pieces": [{"mark": mark, "text": text} for mark, text in passage.pieces]}
            for passage in shown.passages
        ],
    }  # fmt: skip


def _head(title: str, document: Found, terminal: bool) -> Group:
    first = Rule(title, align="left") if terminal else Text(f"── {title}")
    facts = [document.source, document.language, f"{size(document.text_bytes)} of text"]
    verdict = Text(visible(verdict_line(document)), style="bold red" if not document.kept else "bold")
    return Group(first, verdict, Text(visible(document.place), style="cyan"),
                 Text(f"{document.id}  {' · '.join(filter(None, facts))}", style="dim"))  # fmt: skip


def _body(found: Evidence, terminal: bool, width: int) -> Group:
    notes = [Text(f"· {note}") for note in found.notes]
    if found.side_by_side and terminal and width >= NARROW:
        table = Table(expand=True, show_edge=False, pad_edge=False)
        for passage in found.passages:
            table.add_column(Text(passage.title), ratio=1, overflow="fold")
        table.add_row(*(_text(passage, terminal) for passage in found.passages))
        return Group(*notes, table)
    texts: list[Text] = []
    for passage in found.passages:
        texts += [Text(f"{passage.title}:", style="italic"), _text(passage, terminal)]
    return Group(*notes, *texts)


def _text(passage: Passage, terminal: bool) -> Text:
    text = Text(overflow="fold" if terminal else "ignore")  # in a pipe, a folded line would be cut off
    for mark, content in passage.pieces:
        before, after = ("", "") if terminal else _SIGNS[mark]
        text.append(f"{before}{content}{after}", style=_STYLES[mark])
    return text
