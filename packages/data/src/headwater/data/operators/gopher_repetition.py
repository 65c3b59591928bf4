"""Repetition rules of Gopher (Rae et al., arXiv:2112.11446, table A1): repeated lines, paragraphs and n-grams."""

from __future__ import annotations

import re
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from headwater.core.config import Ratio
from headwater.core.hashing import U64, mix64
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.text_split import TextSplit, split_of

_PARAGRAPH_END = re.compile(r"\n{2,}")
_WORD_BASE = np.uint64(0xD1B54A32D192ED03)
I64 = npt.NDArray[np.int64]
Words = Annotated[int, Field(ge=1, le=100)]


class GopherRepetitionConfig(OperatorConfig):
    """Options of `gopher_repetition`; the defaults are the paper's. Null (or an empty mapping) switches a rule off.

    Attributes:
        max_duplicate_lines_ratio, max_duplicate_paragraphs_ratio: Share of lines, paragraphs that occurred before.
        max_duplicate_line_characters_ratio, max_duplicate_paragraph_characters_ratio: The same, in characters.
        top_ngrams: n → largest share of the characters that the most frequent n-gram may take.
        duplicate_ngrams: n → largest share of the characters in n-grams that occurred before.
    """

    max_duplicate_lines_ratio: float | None = Field(default=0.30, ge=0, le=1)
    max_duplicate_paragraphs_ratio: float | None = Field(default=0.30, ge=0, le=1)
    max_duplicate_line_characters_ratio: float | None = Field(default=0.20, ge=0, le=1)
    max_duplicate_paragraph_characters_ratio: float | None = Field(default=0.20, ge=0, le=1)
    top_ngrams: dict[Words, Ratio] = Field(default={2: 0.20, 3: 0.18, 4: 0.16})
    duplicate_ngrams: dict[Words, Ratio] = Field(default={5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10})


class GopherRepetition(Operator):
    """Sets aside texts that repeat themselves."""

    name = "gopher_repetition"
    reasons = frozenset({"empty", "duplicate_lines", "duplicate_line_characters", "duplicate_paragraphs",
                         "duplicate_paragraph_characters", "top_ngram", "duplicate_ngrams"})  # fmt: skip
    config: GopherRepetitionConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`."""
        decided = Decisions(self, batch)
        split = split_of(batch)
        filled = np.flatnonzero(split.line_stops > split.line_starts)
        line_hashes = split.hash_runs(split.line_starts[filled], split.line_stops[filled])
        lengths = (split.line_stops - split.line_starts)[filled]
        first_lines = np.searchsorted(filled, split.first_lines)
        for row, text in enumerate(split.texts):
            if not text:
                decided.reject(row, "empty")
                continue
            mine = slice(first_lines[row], first_lines[row + 1])
            found = (
                self._paragraphs(text)
                or self._lines(line_hashes[mine], lengths[mine], len(text))
                or self._ngrams(split, row)
            )
            if found:
                decided.reject(row, *found)
        return decided.verdicts()

    def _paragraphs(self, text: str) -> tuple[str, str] | None:
        paragraphs = _PARAGRAPH_END.split(text.strip())
        seen = set(paragraphs)
        repeated = len(paragraphs) - len(seen)
        if not repeated:
            return None
        characters = sum(map(len, paragraphs)) - sum(map(len, seen))
        return _over(
            repeated / len(paragraphs),
            self.config.max_duplicate_paragraphs_ratio,
            "duplicate_paragraphs",
            " of paragraphs seen before",
        ) or _over(
            characters / len(text),
            self.config.max_duplicate_paragraph_characters_ratio,
            "duplicate_paragraph_characters",
            " of characters in paragraphs seen before",
        )

    def _lines(self, hashes: U64, lengths: I64, characters: int) -> tuple[str, str] | None:
        if not len(hashes):
            return None
        _, first = np.unique(hashes, return_index=True)
        repeated = len(hashes) - len(first)
        repeated_characters = int(lengths.sum() - lengths[first].sum())
        return _over(
            repeated / len(hashes), self.config.max_duplicate_lines_ratio, "duplicate_lines", " of lines seen before"
        ) or _over(
            repeated_characters / characters,
            self.config.max_duplicate_line_characters_ratio,
            "duplicate_line_characters",
            " of characters in lines seen before",
        )

    def _ngrams(self, split: TextSplit, row: int) -> tuple[str, str] | None:
        first, end = int(split.first_words[row]), int(split.first_words[row + 1])
        hashes = split.hashes[first:end]
        starts, stops = split.starts[first:end], split.stops[first:end]
        characters = int(split.characters[row])
        for n, limit in sorted(self.config.top_ngrams.items()):
            found = _over(
                _top(hashes, stops - starts, n) / characters, limit, "top_ngram", f" of characters in the top {n}-gram"
            )
            if found:
                return found
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(stops - starts)])
        candidates = np.arange(len(hashes))
        for n, limit in sorted(self.config.duplicate_ngrams.items()):
            # A run of n words that repeats begins where a shorter run repeats: the places to look at only get fewer.
            candidates, keys = _repeated(hashes, candidates, n)
            taken = _greedy(candidates, keys, ends, n)
            found = _over(taken / characters, limit, "duplicate_ngrams", f" of characters in repeated {n}-grams")
            if found:
                return found
        return None


def _over(share: float, limit: float | None, reason: str, what: str) -> tuple[str, str] | None:
    if limit is None or share <= limit:
        return None
    return reason, f"{share:.3f}{what} > {limit}"


def _runs(hashes: U64, places: I64, n: int) -> U64:
    sums = hashes[places].copy()
    for k in range(1, n):
        sums *= _WORD_BASE
        sums += hashes[places + k]
    return mix64(sums)


def _top(hashes: U64, lengths: I64, n: int) -> int:
    """Characters that the most frequent n-gram takes (words joined by one space; a tie goes to the first seen)."""
    count = len(hashes) - n + 1
    if count <= 0:
        return 0
    _, first, counts = np.unique(_runs(hashes, np.arange(count), n), return_index=True, return_counts=True)
    most = int(counts.max())
    place = int(first[counts == most].min())
    return (int(lengths[place : place + n].sum()) + n - 1) * most


def _repeated(hashes: U64, candidates: I64, n: int) -> tuple[I64, U64]:
    """Of the candidate places, those whose run of n words occurs more than once, and the runs' hashes."""
    candidates = candidates[candidates <= len(hashes) - n]
    if not len(candidates):
        return candidates, np.empty(0, np.uint64)
    keys = _runs(hashes, candidates, n)
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    again = counts[inverse] > 1
    return candidates[again], keys[again]


def _greedy(places: I64, keys: U64, ends: I64, n: int) -> int:
    """Characters in runs that were seen before, reading from the left and jumping over each run counted."""
    seen: set[int] = set()
    taken, resume = 0, 0
    for place, key in zip(places.tolist(), keys.tolist(), strict=True):
        if place < resume:
            continue
        if key in seen:
            taken += int(ends[place + n] - ends[place])
            resume = place + n
        else:
            seen.add(key)
    return taken
