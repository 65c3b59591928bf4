"""Quality rules of FineWeb (Penedo et al., arXiv:2406.17557, section 3.6): line ends, short lines, repeated lines."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from headwater.core.config import Whole
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.text_split import TextSplit, split_of

# Unicode's Sentence_Terminal characters of the scripts in wide use. No quotation marks: a line that ends in one
# does not count, as in the published filter.
_TERMINAL = ".!?。！？．｡؟۔։।॥။၊።፧፨܀܁܂‼‽⁇⁈⁉⸮⸼꓿꘎꘏᙮᠃᠉។៕"


class FinewebConfig(OperatorConfig):
    """Options of `fineweb`; the defaults are the paper's. Null switches a rule off.

    Attributes:
        min_terminal_lines_ratio: Share of lines that end with terminal punctuation.
        allow_no_terminal_line: Whether a text without any such line passes.
        max_short_lines_ratio: Share of lines of at most `short_line_characters` characters.
        short_line_characters: See above.
        max_duplicate_line_characters_ratio: Share of characters in lines that occurred before.
        max_lines_per_word: Line feeds per word: lists rather than text.
    """

    min_terminal_lines_ratio: float | None = Field(default=0.12, ge=0, le=1)
    allow_no_terminal_line: bool = False
    max_short_lines_ratio: float | None = Field(default=0.67, ge=0, le=1)
    short_line_characters: Whole = Field(default=30, ge=1)
    max_duplicate_line_characters_ratio: float | None = Field(default=0.01, ge=0, le=1)
    max_lines_per_word: float | None = Field(default=0.3, ge=0)


class Fineweb(Operator):
    """Sets aside lists, menus and pages made of repeated lines."""

    name = "fineweb"
    reasons = frozenset({"empty", "terminal_lines", "short_lines", "duplicate_line_characters", "lines_per_word"})
    config: FinewebConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`."""
        decided, config, split = Decisions(self, batch), self.config, split_of(batch)
        filled = split.line_words > 0
        lines = split.per_text(filled, split.first_lines)
        decided.reject_where(lines == 0, "empty", lines, "lines with words")
        with np.errstate(invalid="ignore", divide="ignore"):
            if config.min_terminal_lines_ratio is not None:
                # FineWeb looks at the very last character: a line that ends in white space does not count.
                last = split.codes[np.maximum(split.line_stops - 1, 0)]
                ends = np.isin(last, [ord(c) for c in _TERMINAL]) & filled
                share = split.per_text(ends, split.first_lines) / lines
                low = (share < config.min_terminal_lines_ratio) & ~((share == 0) & config.allow_no_terminal_line)
                decided.reject_where(
                    low, "terminal_lines", share, f"of lines end a sentence < {config.min_terminal_lines_ratio}"
                )
            lengths = split.line_stops - split.line_starts
            if config.max_short_lines_ratio is not None:
                share = split.per_text(filled & (lengths <= config.short_line_characters), split.first_lines) / lines
                decided.reject_where(share > config.max_short_lines_ratio, "short_lines", share,
                                     f"of lines are short > {config.max_short_lines_ratio}")  # fmt: skip
            feeds = np.diff(split.first_lines) - 1
            if config.max_duplicate_line_characters_ratio is not None:
                share = self._repeated(split, np.flatnonzero(filled), lengths) / (split.characters - feeds)
                limit = config.max_duplicate_line_characters_ratio
                decided.reject_where(
                    share > limit, "duplicate_line_characters", share, f"of characters in repeated lines > {limit}"
                )
            if config.max_lines_per_word is not None:
                share = feeds / split.words
                limit = config.max_lines_per_word
                decided.reject_where(share > limit, "lines_per_word", share, f"line feeds per word > {limit}")
        return decided.verdicts()

    @staticmethod
    def _repeated(split: TextSplit, filled: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Characters in lines that occurred before in the same text, shape [texts]."""
        hashes = split.hash_runs(split.line_starts[filled], split.line_stops[filled])
        text = np.searchsorted(split.first_lines, filled, side="right") - 1
        order = np.lexsort((filled, hashes, text))  # equal lines of a text side by side, the first one first
        same = np.zeros(len(order), dtype=np.bool_)
        same[1:] = (hashes[order][1:] == hashes[order][:-1]) & (text[order][1:] == text[order][:-1])
        repeated = np.zeros(len(split.line_starts), dtype=np.int64)
        repeated[filled[order][same]] = lengths[filled[order][same]]
        return split.per_text(repeated, split.first_lines)
