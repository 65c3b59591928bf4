"""Which lines, paragraphs and n-grams of a text repeat: computed again, for the eye, where a filter kept a figure only.

Close to what the filters count (words at white space, lines and paragraphs without the space around them), and not
meant to decide anything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

Span = tuple[int, int]

_LINE, _PARAGRAPH = re.compile(r"[^\n]*\S[^\n]*"), re.compile(r"\S(?:[^\n]|\n(?![^\S\n]*\n))*")
_WORD = re.compile(r"\S+")
MOST_WORDS = 20_000


def repeated_lines(text: str) -> tuple[list[tuple[str, int]], list[Span]]:
    """Lines that occur more than once with how often, most frequent first; and where they are, but for the first."""
    return _repeated(text, _LINE)


def repeated_paragraphs(text: str) -> tuple[list[tuple[str, int]], list[Span]]:
    """As `repeated_lines`, for paragraphs: parted by blank lines."""
    return _repeated(text, _PARAGRAPH)


def repeated_ngrams(text: str, n: int) -> tuple[list[tuple[str, int]], list[Span]]:
    """N-grams that occur more than once with how often, those with most characters in all first; and where all are.

    Only the first `MOST_WORDS` words are looked at.
    """
    often = {gram: places for gram, places in _ngrams(text, n).items() if len(places) > 1}
    ranked = sorted(often, key=lambda gram: (-len(gram) * len(often[gram]), gram))
    return [(gram, len(often[gram])) for gram in ranked], [span for gram in ranked for span in often[gram]]


def top_ngram(text: str, n: int) -> tuple[list[tuple[str, int]], list[Span]]:
    """The most frequent n-gram, the longest of those, with how often it occurs; and where. In a short text: once."""
    grams = _ngrams(text, n)
    if not grams:
        return [], []
    top = min(grams, key=lambda gram: (-len(grams[gram]), -len(gram), gram))
    return [(top, len(grams[top]))], grams[top]


def lines_where(text: str, test: Callable[[str], bool]) -> list[Span]:
    """The lines with words for which `test` holds."""
    return [(start, stop) for line, start, stop in _units(text, _LINE) if test(line)]


def words_where(text: str, test: Callable[[str], bool]) -> list[Span]:
    """The words, parted at white space, for which `test` holds."""
    return [match.span() for match in _WORD.finditer(text) if test(match.group())]


def _ngrams(text: str, n: int) -> dict[str, list[Span]]:
    """Each n-gram, and where it is."""
    words = [(match.group(), *match.span()) for match in islice(_WORD.finditer(text), MOST_WORDS)]
    grams: dict[str, list[Span]] = {}
    for place in range(len(words) - n + 1):
        run = words[place : place + n]
        grams.setdefault(" ".join(word for word, _, _ in run), []).append((run[0][1], run[-1][2]))
    return grams


def _repeated(text: str, pattern: re.Pattern[str]) -> tuple[list[tuple[str, int]], list[Span]]:
    counts: Counter[str] = Counter()
    spans: list[Span] = []
    for unit, start, stop in _units(text, pattern):
        counts[unit] += 1
        if counts[unit] > 1:
            spans.append((start, stop))
    often = [(unit, count) for unit, count in counts.items() if count > 1]
    return sorted(often, key=lambda item: (-item[1], -len(item[0]), item[0])), spans


def _units(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, int, int]]:
    for match in pattern.finditer(text):
        yield match.group().strip(), match.start(), match.end()
