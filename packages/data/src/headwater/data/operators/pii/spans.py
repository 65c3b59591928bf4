"""Spans of a text that are replaced, and the record of it: where each was, and where its placeholder is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

Kind = Literal["secret", "iban", "card", "email", "ip", "phone", "name"]

KINDS: tuple[Kind, ...] = ("secret", "iban", "card", "email", "ip", "phone")
"""The kinds that need no model."""

_RANK = {kind: place for place, kind in enumerate((*KINDS, "name"))}
"""Where spans overlap, the kind with the lower rank counts."""


class Span(NamedTuple):
    """Bytes start to stop of a text's UTF-8."""

    start: int
    stop: int
    kind: Kind


class Replacement(NamedTuple):
    """One replacement, in characters (Unicode code points). What was replaced is noted nowhere."""

    kind: str
    start: int
    length: int
    new_start: int
    new_length: int


def merged(spans: Iterable[Span]) -> list[Span]:
    """Spans in their order, those that overlap as one: nothing that was found stays."""
    result: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.stop, _RANK[span.kind])):
        if result and span.start < result[-1].stop:
            last = result[-1]
            first = last if _RANK[last.kind] <= _RANK[span.kind] else span
            result[-1] = Span(last.start, max(last.stop, span.stop), first.kind)
        else:
            result.append(span)
    return result


def replaced(text: bytes, spans: Sequence[Span], placeholders: Mapping[str, str]) -> tuple[bytes, list[Replacement]]:
    """The text with placeholders for merged spans, and what was replaced."""
    pieces: list[bytes] = []
    done: list[Replacement] = []
    place, old, new = 0, 0, 0  # bytes of the old text, characters of the old and of the new one
    for start, stop, kind in spans:
        before, gone, placeholder = text[place:start], text[start:stop], placeholders[kind]
        pieces += [before, placeholder.encode()]
        between, length = _characters(before), _characters(gone)
        done.append(Replacement(kind, old + between, length, new + between, len(placeholder)))
        old, new, place = old + between + length, new + between + len(placeholder), stop
    return b"".join([*pieces, text[place:]]), done


def detail(done: Sequence[Replacement], most: int) -> str:
    """The verdict's detail: JSON with a count of each kind, and under `spans` the first `most` replacements."""
    counts = Counter(replacement.kind for replacement in done)
    return json.dumps({**{kind: counts[kind] for kind in sorted(counts)}, "spans": done[:most]}, separators=(",", ":"))


def read_detail(value: str) -> list[Replacement]:
    """The replacements that a verdict's detail records."""
    return [Replacement(*each) for each in json.loads(value)["spans"]] if value else []


def original_place(done: Sequence[Replacement], place: int) -> int:
    """Where a character of the redacted text was in the original; inside a placeholder, where what it hides began."""
    shift = 0
    for replacement in done:
        if place < replacement.new_start:
            break
        if place < replacement.new_start + replacement.new_length:
            return replacement.start
        shift = (replacement.start + replacement.length) - (replacement.new_start + replacement.new_length)
    return place + shift


def _characters(text: bytes) -> int:
    return len(text) if text.isascii() else len(text.decode())
