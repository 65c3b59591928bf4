"""Toxicity: by a fastText classifier (as in Dolma, Soldaini et al., 2024), by a word list, or by both."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pyarrow as pa
from pydantic import Field, model_validator

from headwater.data.models import fasttext_file, word_list
from headwater.data.models.model_file import FileOperator, FileOptions, FilePath
from headwater.data.operators.base import Decisions, Verdicts
from headwater.data.operators.quality_classifier import check_label
from headwater.data.rows import texts_of


class ToxicityConfig(FileOptions):
    """Options of `toxicity`. A word list is a baseline: it cannot tell a slur from a text about slurs.

    Attributes:
        model: A supervised fastText model: of `headwater data model train toxicity`, or any other.
        label: Whose probability is the score, without `__label__`.
        max_score: Documents above are set aside; the model card suggests thresholds.
        words: A file with one word or phrase a line. None is shipped: what belongs there is yours to decide.
        max_ratio: Most of a document's words that may be part of listed words and phrases.
    """

    FILES: ClassVar[tuple[str, ...]] = ("model", "words")

    model: FilePath | None = None
    label: str = "toxic"
    max_score: float = Field(default=0.5, ge=0, le=1)
    words: FilePath | None = None
    max_ratio: float = Field(default=0.01, ge=0, le=1)

    @model_validator(mode="after")
    def _some(self) -> ToxicityConfig:
        if self.model is None and self.words is None:
            raise ValueError("give a model, a list of words, or both")
        return self

    def check(self, name: str, path: Path) -> None:
        """The model is whole and has the label; the list has words."""
        if name == "model":
            check_label(path, self.label)
        else:
            word_list.load(str(path))


class Toxicity(FileOperator):
    """Sets aside documents that a classifier or a word list finds toxic."""

    name = "toxicity"
    reasons = frozenset({"toxic_score", "listed_words"})
    live_only = True
    config: ToxicityConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`."""
        decided, config, texts = Decisions(self, batch), self.config, texts_of(batch)
        if config.model is not None:
            for row, score in enumerate(fasttext_file.scores(config.model, config.label, texts)):
                decided.count(f"score_{min(int(score * 10), 9) / 10:.1f}")
                decided.details[row] = f"{score:.4f}"
                if score > config.max_score:
                    decided.reject(row, "toxic_score", f"{score:.4f} > {config.max_score}")
        if config.words is not None:
            for row, (words, listed, phrase) in enumerate(word_list.load(config.words).found(texts)):
                decided.count("listed_words", listed)
                if listed > config.max_ratio * words:
                    ratio = f"{listed / words:.4f} > {config.max_ratio}"
                    decided.reject(row, "listed_words", f"{ratio}: {listed:,} of {words:,} words, first: {phrase}")
        return decided.verdicts()
