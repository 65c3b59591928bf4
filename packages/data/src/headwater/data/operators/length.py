"""Limits on a text's length, in characters, words, bytes and lines."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from headwater.core.config import Whole
from headwater.data.arrow import compute
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.text_split import split_of

MEASURES = ("characters", "words", "bytes", "lines")


class LengthConfig(OperatorConfig):
    """Options of `length`. Each limit is inclusive; null switches it off, and at least one is given.

    Attributes:
        min_characters, max_characters: Unicode code points.
        min_words, max_words: Runs of characters between white space.
        min_bytes, max_bytes: UTF-8.
        min_lines, max_lines: Lines that hold more than white space.
    """

    min_characters: Whole | None = Field(default=None, ge=0)
    max_characters: Whole | None = Field(default=None, ge=0)
    min_words: Whole | None = Field(default=None, ge=0)
    max_words: Whole | None = Field(default=None, ge=0)
    min_bytes: Whole | None = Field(default=None, ge=0)
    max_bytes: Whole | None = Field(default=None, ge=0)
    min_lines: Whole | None = Field(default=None, ge=0)
    max_lines: Whole | None = Field(default=None, ge=0)

    def limits(self, measure: str) -> tuple[int | None, int | None]:
        """The least and the largest allowed value of a measure."""
        return getattr(self, f"min_{measure}"), getattr(self, f"max_{measure}")

    @model_validator(mode="after")
    def _limits(self) -> LengthConfig:
        pairs = {measure: self.limits(measure) for measure in MEASURES}
        if all(limit is None for pair in pairs.values() for limit in pair):
            raise ValueError(f"length needs a limit, such as {{min_characters: 200}}; it can limit {', '.join(pairs)}")
        for measure, (low, high) in pairs.items():
            if low is not None and high is not None and low > high:
                raise ValueError(f"no text has at least {low} and at most {high} {measure}")
        return self


class Length(Operator):
    """Sets aside texts that are too short or too long."""

    name = "length"
    reasons = frozenset(f"too_{word}_{measure}" for word in ("few", "many") for measure in MEASURES)
    config: LengthConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`."""
        decided = Decisions(self, batch)
        for measure in MEASURES:
            low, high = self.config.limits(measure)
            if low is None and high is None:
                continue  # words and lines cost a split of the text
            found = measured(batch, measure)
            if low is not None:
                decided.reject_where(found < low, f"too_few_{measure}", found, f"{measure} < {low:,}")
            if high is not None:
                decided.reject_where(found > high, f"too_many_{measure}", found, f"{measure} > {high:,}")
        return decided.verdicts()


def measured(batch: pa.RecordBatch, measure: str) -> npt.NDArray[np.int64]:
    """One of `MEASURES` of each text, shape [rows]."""
    if measure in ("characters", "bytes"):
        count = compute.utf8_length if measure == "characters" else compute.binary_length
        return count(batch.column("text")).to_numpy(zero_copy_only=False).astype(np.int64)
    split = split_of(batch)
    if measure == "words":
        return split.words
    filled = np.zeros(len(split.line_words) + 1, dtype=np.int64)
    np.cumsum(split.line_words > 0, out=filled[1:])
    return np.diff(filled[split.first_lines])
