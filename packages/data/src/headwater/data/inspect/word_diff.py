"""What differs between two texts, word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from headwater.data.inspect.passages import Piece

MOST_WORDS = 2000
"""Words that are compared after the common beginning and before the common end; the time grows with their square."""

_WORD = re.compile(r"\S+\s*|\s+")
_EDGE = re.compile(r"(\s*\n\s*|\s+\Z)")  # space that is not marked: it would be a coloured block of nothing


def word_diff(old: str, new: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces: what only the first has is marked removed, what only the second has added.

    White space counts for nothing. Of long differences the first `MOST_WORDS` words are compared one by one, and the
    rest as a whole.
    """
    first, second = _WORD.findall(old), _WORD.findall(new)
    a, b = [word.rstrip() for word in first], [word.rstrip() for word in second]
    shorter = min(len(a), len(b))
    head = next((k for k in range(shorter) if a[k] != b[k]), shorter)
    shorter -= head
    tail = next((k for k in range(shorter) if a[-1 - k] != b[-1 - k]), shorter)
    left, right = [Piece("", "".join(first[:head]))], [Piece("", "".join(second[:head]))]
    middle_a, middle_b = (head, len(a) - tail), (head, len(b) - tail)
    stop_a, stop_b = min(middle_a[1], head + MOST_WORDS), min(middle_b[1], head + MOST_WORDS)
    matcher = SequenceMatcher(None, a[head:stop_a], b[head:stop_b], autojunk=False)
    for kind, i, j, k, m in matcher.get_opcodes():
        same = kind == "equal"
        left.append(Piece("" if same else "removed", "".join(first[head + i : head + j])))
        right.append(Piece("" if same else "added", "".join(second[head + k : head + m])))
    left += [Piece("removed", "".join(first[stop_a : middle_a[1]])), Piece("", "".join(first[middle_a[1] :]))]
    right += [Piece("added", "".join(second[stop_b : middle_b[1]])), Piece("", "".join(second[middle_b[1] :]))]
    return _joined(left), _joined(right)


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Neighbours of one mark as one piece; line ends are never marked."""
    unmarked: list[Piece] = []
    for mark, whole in _merged(pieces):
        parts = _EDGE.split(whole) if mark else [whole]
        unmarked += [Piece("" if place % 2 else mark, part) for place, part in enumerate(parts)]
    return _merged(unmarked)


def _merged(pieces: list[Piece]) -> list[Piece]:
    found: list[Piece] = []
    for piece in pieces:
        if piece.text and found and found[-1].mark == piece.mark:
            found[-1] = Piece(piece.mark, found[-1].text + piece.text)
        elif piece.text:
            found.append(piece)
    return found
