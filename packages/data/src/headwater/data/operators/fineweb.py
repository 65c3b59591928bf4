"""Quality rules of FineWeb (Penedo et al., arXiv:2406.17557, section 3.6): line ends, short lines, repeated lines."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from headwater.core.config import Whole
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.kernels import columns
from headwater.data.operators.kernels.characters import character_bits
from headwater.data.operators.text_split import split_of


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
        from headwater.data.operators.kernels.lines import line_figures

        decided, config, split = Decisions(self, batch), self.config, split_of(batch)
        figures = np.empty((len(split), columns.LINE_COLUMNS), np.int64)
        line_figures(split.data, character_bits(), split.line_starts, split.line_stops, split.line_lengths,
                     split.line_words, split.line_hashes, split.first_lines, config.short_line_characters,
                     figures)  # fmt: skip
        lines = figures[:, columns.FILLED_LINES]
        decided.reject_where(lines == 0, "empty", lines, "lines with words")
        with np.errstate(invalid="ignore", divide="ignore"):
            if config.min_terminal_lines_ratio is not None:
                share = figures[:, columns.ENDED_LINES] / lines
                low = (share < config.min_terminal_lines_ratio) & ~((share == 0) & config.allow_no_terminal_line)
                decided.reject_where(
                    low, "terminal_lines", share, f"of lines end a sentence < {config.min_terminal_lines_ratio}"
                )
            if config.max_short_lines_ratio is not None:
                share = figures[:, columns.SHORT_LINES] / lines
                decided.reject_where(share > config.max_short_lines_ratio, "short_lines", share,
                                     f"of lines are short > {config.max_short_lines_ratio}")  # fmt: skip
            feeds = np.diff(split.first_lines) - 1
            if config.max_duplicate_line_characters_ratio is not None:
                share = figures[:, columns.REPEATED_LINE_CHARACTERS] / (split.characters - feeds)
                limit = config.max_duplicate_line_characters_ratio
                decided.reject_where(
                    share > limit, "duplicate_line_characters", share, f"of characters in repeated lines > {limit}"
                )
            if config.max_lines_per_word is not None:
                share = feeds / split.words
                limit = config.max_lines_per_word
                decided.reject_where(share > limit, "lines_per_word", share, f"line feeds per word > {limit}")
        return decided.verdicts()
