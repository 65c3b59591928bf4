"""Results as files that others read: Markdown for people, JUnit XML for CI servers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple
from xml.etree import ElementTree

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 (section 2.2) has no way to write, such as those that colour a terminal."""


_MARKUP = re.compile(r"[\\`*{}\[\]<>#|~!&$]|(?<!\w)_|_(?!\w)")
"""What Markdown (GitHub's, section 2.4) reads as markup inside a line; `_` between letters it does not."""


class Case(NamedTuple):
    """A line of a JUnit report.

    Attributes:
        name: What was tested.
        outcome: How it went.
        words: What there is to say about it.
        kind: Of a failure.
    """

    name: str
    outcome: Literal["passed", "failure", "skipped"]
    words: str
    kind: str | None = None


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """The lines of a table; what would end a cell is escaped."""
    lines = [list(headers), *([_cell(value) for value in row] for row in rows)]
    found = ["| " + " | ".join(line) + " |" for line in lines]
    return [found[0], "|" + "---|" * len(headers), *found[1:]]


def markdown_text(text: str) -> str:
    """Text as one line that Markdown shows as it is: no markup, no link, no picture, no end of a cell."""
    return _MARKUP.sub(r"\\\g<0>", _writable(" ".join(text.split())))


def markdown_code(text: str) -> str:
    """Text as one line of code, whatever is in it."""
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if len(fence) > 1 else f"`{line}`"


def _cell(value: object) -> str:
    return "" if value is None else markdown_text(str(value))


def _writable(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def junit_xml(name: str, classname: str, cases: Sequence[Case]) -> str:
    """One test suite as JUnit XML."""
    kinds = [case.outcome for case in cases]
    suite = ElementTree.Element(
        "testsuite", name=name, tests=str(len(kinds)), failures=str(kinds.count("failure")), errors="0",
        skipped=str(kinds.count("skipped")),
    )  # fmt: skip
    for each in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=classname, name=each.name)
        if each.outcome == "passed":
            ElementTree.SubElement(case, "system-out").text = each.words
        elif each.kind is None:
            ElementTree.SubElement(case, each.outcome, message=each.words)
        else:
            ElementTree.SubElement(case, each.outcome, message=each.words, type=each.kind)
    for element in suite.iter():
        element.text = _writable(element.text or "")
        for key, value in element.items():
            element.set(key, _writable(value))
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"
