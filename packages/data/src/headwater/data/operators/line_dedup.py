"""Lines or paragraphs that another document has already are cut, as CCNet does (Wenzek et al., LREC 2020)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from headwater.core.config import Whole
from headwater.data.operators.base import OperatorConfig
from headwater.data.rows import CODE_TYPES

NAME = "line_dedup"
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


class LineDedupConfig(OperatorConfig):
    """Options of `line_dedup`.

    Attributes:
        unit: Lines, or paragraphs (parted by blank lines).
        min_words: Units of fewer words always stay: short ones (headings, list items) repeat by nature.
        min_characters: Documents that lost something and have fewer characters left are set aside; 0: none.
        exempt_types: Media type prefixes that are left alone: programs repeat lines by nature.
    """

    unit: Literal["line", "paragraph"] = "paragraph"
    min_words: Whole = Field(default=8, ge=1)
    min_characters: Whole = Field(default=200, ge=0)
    exempt_types: tuple[str, ...] = CODE_TYPES


def spans_of_lines(text: str, config: LineDedupConfig) -> Iterator[tuple[str, int, int]]:
    """The units that count: their lower-case words, and their bytes [start, stop) with the line feed after them."""
    total = len(text.encode("utf-8", "surrogatepass"))
    ascii_only = total == len(text)
    place, byte = 0, 0  # of what was looked at last
    fewest = 2 * config.min_words - 1  # characters of so many words
    for first, end in _lines(text) if config.unit == "line" else _paragraphs(text):
        if end - first < fewest:
            continue
        words = text[first:end].lower().split()
        if len(words) < config.min_words:
            continue
        start = first if ascii_only else byte + _size(text[place:first])
        stop = end if ascii_only else start + _size(text[first:end])
        place, byte = end, stop
        yield " ".join(words), start, min(stop + 1, total)


def _lines(text: str) -> Iterator[tuple[int, int]]:
    first = 0
    for line in text.split("\n"):
        yield first, first + len(line)
        first += len(line) + 1


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    first = 0
    for match in _BLANK_LINES.finditer(text):
        yield first, match.start()
        first = match.end()
    yield first, len(text)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
