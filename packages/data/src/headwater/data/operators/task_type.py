"""What kind of task a conversation is about: by rules, or by a fastText classifier with labels of your own."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pydantic import Field

from headwater.data.conversations.tasks import task_of_prompt
from headwater.data.conversations.text import from_text
from headwater.data.models import fasttext_file
from headwater.data.models.model_file import FileOperator, FileOptions, FilePath
from headwater.data.operators.base import Decisions, Verdicts
from headwater.data.rows import texts_of

NAME = "task_type"
OTHER = "other"


class TaskTypeConfig(FileOptions):
    """Options of `task_type`.

    Attributes:
        model: A supervised fastText model, whose labels are the types; null: the rules (`conversations.tasks`).
        min_score: Of a model's best label; below, the type is "other".
    """

    model: FilePath | None = None
    min_score: float = Field(default=0.5, ge=0, le=1)

    def check(self, name: str, path: Path) -> None:
        """The model is whole."""
        fasttext_file.labels_of(path)


class TaskType(FileOperator):
    """Labels conversations by what the user asks for first. Rejects nothing.

    The label is the detail of the verdict, and a counter; `task_balance` caps by it.
    """

    name = NAME
    reasons = frozenset[str]()
    live_only = True
    config: TaskTypeConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`, which holds conversations."""
        decided = Decisions(self, batch)
        prompts = [from_text(text).first_prompt() for text in texts_of(batch)]
        for row, task in enumerate(self._labels(prompts)):
            decided.details[row] = task
            decided.count(f"task_{task}")
        return decided.verdicts()

    def _labels(self, prompts: list[str]) -> list[str]:
        if self.config.model is None:
            return [task_of_prompt(prompt) for prompt in prompts]
        least = self.config.min_score
        best = fasttext_file.best_labels(self.config.model, prompts)
        return [label if score >= least else OTHER for label, score in best]
