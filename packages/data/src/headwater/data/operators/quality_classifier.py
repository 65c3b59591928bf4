"""Quality by a fastText classifier, as in GPT-3 (Brown et al., 2020) and DCLM (Li et al., arXiv:2406.11794)."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pydantic import Field

from headwater.core.errors import ConfigError
from headwater.data.models import fasttext_file
from headwater.data.models.model_file import FileOperator, FileOptions, FilePath
from headwater.data.operators.base import Decisions, Verdicts
from headwater.data.rows import texts_of


class QualityClassifierConfig(FileOptions):
    """Options of `quality_classifier`.

    Attributes:
        model: A supervised fastText model: of `headwater data model train quality`, or any other.
        label: Whose probability is the score, without `__label__`.
        min_score: Documents below are set aside; the model card suggests thresholds.
    """

    model: FilePath
    label: str = "hq"
    min_score: float = Field(default=0.5, ge=0, le=1)

    def check(self, name: str, path: Path) -> None:
        """The model is whole and has the label."""
        check_label(path, self.label)


class QualityClassifier(FileOperator):
    """Sets aside documents whose score is too low. The score is in the verdict of every document."""

    name = "quality_classifier"
    reasons = frozenset({"low_score"})
    live_only = True
    config: QualityClassifierConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`."""
        decided = Decisions(self, batch)
        least = self.config.min_score
        for row, score in enumerate(fasttext_file.scores(self.config.model, self.config.label, texts_of(batch))):
            decided.count(f"score_{min(int(score * 10), 9) / 10:.1f}")
            decided.details[row] = f"{score:.4f}"
            if score < least:
                decided.reject(row, "low_score", f"{score:.4f} < {least}")
        return decided.verdicts()


def check_label(path: Path, label: str) -> None:
    """Refuses a model without a label.

    Raises:
        ConfigError: It has none, or is no model.
    """
    labels = fasttext_file.labels_of(path)
    if label not in labels:
        shown = ", ".join(labels[:10]) + (" …" if len(labels) > 10 else "")
        raise ConfigError(f"the model {path} has no label {label}", found=shown,
                          hint="set `label` to one of these")  # fmt: skip
