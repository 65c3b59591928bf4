"""Marked passages of text: what a terminal and a page both show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Mark = Literal["", "hit", "removed", "added", "gap"]

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
AROUND = 120
"""Characters of unmarked text beside a mark."""


class Piece(NamedTuple):
    """A run of text: plain, what a rule hit, removed or added in a comparison, or a note in place of left-out text."""

    mark: Mark
    text: str


@dataclass(frozen=True)
class Passage:
    """A title and a marked text."""

    title: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Evidence:
    """What shows why a document was decided about as it was.

    Attributes:
        notes: Sentences.
        passages: Texts.
        side_by_side: Whether the passages are two versions to compare.
    """

    notes: tuple[str, ...] = ()
    passages: tuple[Passage, ...] = ()
    side_by_side: bool = False


def visible(text: str) -> str:
    """The text without characters that would command a terminal or turn the direction of writing; each shows as �."""
    return _UNSEEN.sub("\ufffd", text.replace("\r\n", "\n"))


def marked(text: str, spans: Iterable[tuple[int, int]], mark: Mark = "hit") -> list[Piece]:
    """The text in pieces, with spans [start, stop) marked; spans that overlap count as one."""
    pieces: list[Piece] = []
    place = 0
    for start, stop in sorted(spans):
        start = max(start, place)
        if stop <= start:
            continue
        pieces += [Piece("", text[place:start]), Piece(mark, text[start:stop])]
        place = stop
    pieces.append(Piece("", text[place:]))
    return [piece for piece in pieces if piece.text]


def excerpt(pieces: Sequence[Piece], most: int | None) -> tuple[Piece, ...]:
    """At most about `most` characters: what is marked, with some text around it; none: everything."""
    if most is None or sum(len(piece.text) for piece in pieces) <= most:
        return tuple(pieces)
    if not any(piece.mark for piece in pieces):
        return _cut("".join(piece.text for piece in pieces), most)
    shown: list[Piece] = []
    room = most
    for place, piece in enumerate(pieces):
        if room <= 0:
            left = sum(len(rest.text) for rest in pieces[place:])
            shown.append(Piece("gap", f" … {left:,} more characters"))
            break
        if piece.mark:
            kept = _cut(piece.text, max(room, AROUND))
            shown += [Piece(piece.mark, part.text) if part.mark == "" else part for part in kept]
        else:
            shown += _around(piece.text, before=place > 0, after=place < len(pieces) - 1)
        room -= sum(len(part.text) for part in shown) - (most - room)
    return tuple(shown)


def _around(text: str, *, before: bool, after: bool) -> list[Piece]:
    """Unmarked text between marks: its ends that touch one."""
    if len(text) <= AROUND * (before + after) + 20:
        return [Piece("", text)]
    head, tail = text[:AROUND] if before else "", text[-AROUND:] if after else ""
    gap = Piece("gap", f" … {len(text) - len(head) - len(tail):,} characters … ")
    return [piece for piece in (Piece("", head), gap, Piece("", tail)) if piece.text]


def _cut(text: str, most: int) -> tuple[Piece, ...]:
    if len(text) <= most:
        return (Piece("", text),)
    return Piece("", text[:most]), Piece("gap", f" … {len(text) - most:,} more characters")
