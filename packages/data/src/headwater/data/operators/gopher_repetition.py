"""Repetition rules of Gopher (Rae et al., arXiv:2112.11446, table A1): repeated lines, paragraphs and n-grams."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from headwater.core.config import Ratio
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.kernels import columns
from headwater.data.operators.text_split import split_of

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
        from headwater.data.operators.kernels.repetition import repetition

        decided, config, split = Decisions(self, batch), self.config, split_of(batch)
        levels = np.array(sorted({*config.top_ngrams, *config.duplicate_ngrams}), dtype=np.int64)
        is_duplicate = np.array([n in config.duplicate_ngrams for n in levels.tolist()], dtype=np.bool_)
        figures = np.zeros((len(split), columns.REPETITION_COLUMNS), np.int64)
        top, duplicate = (np.zeros((len(split), len(levels)), np.int64) for _ in range(2))
        repetition(split.data, split.offsets, split.starts, split.stops, split.ends, split.hashes, split.first_words,
                   split.line_starts, split.line_stops, split.line_lengths, split.line_hashes, split.first_lines,
                   levels, is_duplicate, figures, top, duplicate)  # fmt: skip
        characters, place = split.characters, {n: k for k, n in enumerate(levels.tolist())}
        for row in np.flatnonzero(characters == 0).tolist():
            decided.reject(row, "empty")
        paragraphs, lines = figures[:, columns.PARAGRAPHS], figures[:, columns.LINES]
        with np.errstate(invalid="ignore", divide="ignore"):
            _over(decided, figures[:, columns.REPEATED_PARAGRAPHS] / paragraphs, config.max_duplicate_paragraphs_ratio,
                  "duplicate_paragraphs", "of paragraphs seen before")  # fmt: skip
            _over(decided, figures[:, columns.PARAGRAPH_CHARACTERS] / characters,
                  config.max_duplicate_paragraph_characters_ratio, "duplicate_paragraph_characters",
                  "of characters in paragraphs seen before")  # fmt: skip
            _over(decided, figures[:, columns.REPEATED_LINES] / lines, config.max_duplicate_lines_ratio,
                  "duplicate_lines", "of lines seen before")  # fmt: skip
            _over(decided, figures[:, columns.LINE_CHARACTERS] / characters, config.max_duplicate_line_characters_ratio,
                  "duplicate_line_characters", "of characters in lines seen before")  # fmt: skip
            for n, limit in sorted(config.top_ngrams.items()):
                _over(decided, top[:, place[n]] / characters, limit, "top_ngram", f"of characters in the top {n}-gram")
            for n, limit in sorted(config.duplicate_ngrams.items()):
                _over(decided, duplicate[:, place[n]] / characters, limit, "duplicate_ngrams",
                      f"of characters in repeated {n}-grams")  # fmt: skip
        return decided.verdicts()


def _over(decided: Decisions, share: npt.NDArray[np.float64], limit: float | None, reason: str, what: str) -> None:
    if limit is not None:
        decided.reject_where(share > limit, reason, share, f"{what} > {limit}")
