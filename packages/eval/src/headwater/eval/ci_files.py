"""Results as files that others read: Markdown for people, JUnit XML for CI servers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple
from xml.etree import ElementTree

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 (section 2.2) has no way to write, such as those that colour a terminal."""


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


def _cell(value: object) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


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
