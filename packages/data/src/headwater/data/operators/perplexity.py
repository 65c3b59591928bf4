"""Perplexity under an n-gram model of reference text, as in CCNet (Wenzek et al., LREC 2020)."""

from __future__ import annotations

from math import log2
from pathlib import Path

import pyarrow as pa
from pydantic import Field, model_validator

from headwater.core.config import Whole
from headwater.data.models import ngram
from headwater.data.models.model_file import FileOperator, FileOptions, FilePath
from headwater.data.operators.base import Decisions, Verdicts
from headwater.data.rows import texts_of


class PerplexityConfig(FileOptions):
    """Options of `perplexity`. The figure is a token of the model's: thresholds hold for one model.

    Attributes:
        model: A model of `headwater data model train ngram`; its card shows what reference text has.
        max_perplexity: Documents above it are unlike the reference: noise, other languages, broken text.
        min_perplexity: Documents below it are too predictable: boilerplate, repetition.
        characters: How much of the text is looked at; null: all.
    """

    model: FilePath
    max_perplexity: float | None = Field(default=None, gt=0)
    min_perplexity: float | None = Field(default=None, gt=0)
    characters: Whole | None = Field(default=None, ge=100)

    @model_validator(mode="after")
    def _bounds(self) -> PerplexityConfig:
        if self.max_perplexity is None and self.min_perplexity is None:
            raise ValueError("give max_perplexity, min_perplexity, or both")
        if self.max_perplexity is not None and self.max_perplexity <= (self.min_perplexity or 0):
            raise ValueError(f"max_perplexity is above min_perplexity ({self.min_perplexity})")
        return self

    def check(self, name: str, path: Path) -> None:
        """The model is an n-gram model and whole."""
        ngram.load(str(path))


class Perplexity(FileOperator):
    """Sets aside documents that are too unlike the reference, or too predictable."""

    name = "perplexity"
    reasons = frozenset({"high_perplexity", "low_perplexity", "empty"})
    live_only = True
    config: PerplexityConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`."""
        decided, config = Decisions(self, batch), self.config
        texts = [text[: config.characters] for text in texts_of(batch)]
        for row, found in enumerate(ngram.load(config.model).perplexities(texts)):
            if found is None:
                decided.reject(row, "empty")
                continue
            decided.count(f"perplexity_2^{int(log2(max(found, 1))):02d}")
            decided.details[row] = f"{found:.2f}"
            if config.max_perplexity is not None and found > config.max_perplexity:
                decided.reject(row, "high_perplexity", f"{found:.2f} > {config.max_perplexity}")
            elif config.min_perplexity is not None and found < config.min_perplexity:
                decided.reject(row, "low_perplexity", f"{found:.2f} < {config.min_perplexity}")
        return decided.verdicts()
