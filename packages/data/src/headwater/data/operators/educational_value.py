"""Educational value, after FineWeb-Edu (Penedo et al., arXiv:2406.17557, section 4): embeddings and a regression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from headwater.core.errors import ConfigError
from headwater.data.models import educational, embeddings
from headwater.data.models.model_file import FileOperator, FileOptions, FilePath
from headwater.data.operators.base import Decisions, Verdicts
from headwater.data.rows import texts_of


class EducationalValueConfig(FileOptions):
    """Options of `educational_value`. Like FineWeb-Edu's, it looks at the beginning of a document only.

    Attributes:
        model: A model of `headwater data model train educational`. It knows the embeddings it was fitted on.
        min_score: Documents below are set aside; FineWeb-Edu's threshold on the scale from 0 to 5 is 3.
        embeddings: Folder of the sentence-transformers model; null: the packaged all-MiniLM-L6-v2.
    """

    model: FilePath
    min_score: float = Field(default=3.0, ge=educational.LEAST, le=educational.MOST)
    embeddings: str | None = Field(default=None, min_length=1)

    def content(self) -> dict[str, Any]:
        """The options as artifacts record them; the model stands for its embeddings, whose digest it holds."""
        return {**super().content(), "embeddings": None}

    def check(self, name: str, path: Path) -> None:
        """The model is whole, and its embeddings are there."""
        model = educational.load(str(path))
        folder = embeddings.folder_of(self.embeddings)
        found = embeddings.digest_of(folder)
        if found != model.embeddings_digest:
            raise ConfigError(
                f"the model {path} was fitted on other embeddings",
                found=f"{folder} with digest {found[:12]}…",
                expected=f"{model.embeddings_name} with digest {model.embeddings_digest[:12]}…",
                hint="name their folder with `embeddings`, or train the model again",
            )


class EducationalValue(FileOperator):
    """Sets aside documents whose score is too low. The score is in the verdict of every document."""

    name = "educational_value"
    reasons = frozenset({"low_score"})
    live_only = True
    config: EducationalValueConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`."""
        decided, least = Decisions(self, batch), self.config.min_score
        model = educational.load(self.config.model)
        embedder = embeddings.load(str(embeddings.folder_of(self.config.embeddings)))
        for row, text in enumerate(texts_of(batch)):
            score = model.score(embedder.embed(text))
            decided.count(f"score_{int(score)}")
            decided.details[row] = f"{score:.3f}"
            if score < least:
                decided.reject(row, "low_score", f"{score:.3f} < {least}")
        return decided.verdicts()
