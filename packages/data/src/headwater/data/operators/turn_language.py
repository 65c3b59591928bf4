"""The languages of what users ask and of what assistants answer, by the model of `language`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import BeforeValidator, Field

from headwater.core.config import Ratio, Whole
from headwater.data.conversations.languages import asks_for_another
from headwater.data.conversations.text import from_text
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.language import identify
from headwater.data.operators.language_codes import language_code
from headwater.data.rows import texts_of, with_column

_CODE_BLOCK = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+", re.DOTALL)
_CLOSE = ({"no", "nn", "da", "sv"}, {"hr", "sr", "bs", "sh", "sl"}, {"id", "ms", "jv"}, {"cs", "sk"}, {"pt", "gl"},
          {"zh", "yue", "wuu"}, {"es", "ast", "an"}, {"fa", "azb"}, {"hi", "mr", "ne"})  # fmt: skip
"""Languages that the model takes for one another in short texts: no mismatch."""


class TurnLanguageConfig(OperatorConfig):
    """Options of `turn_language`.

    Attributes:
        allowed: Code of a language to the least score (0–1) with which a prompt or response in it is kept; empty: any.
        mismatch: What becomes of a conversation whose response is in another language than its prompt, unless the
            prompt speaks of translation or of a language.
        min_score: With which both have to be identified for a mismatch.
        min_characters: Sides that have fewer letters, outside of code and URLs, have no language that could be told.
        characters: How much of each side is looked at.
    """

    allowed: dict[Annotated[str, BeforeValidator(language_code)], Ratio] = Field(default={})
    mismatch: Literal["reject", "keep"] = "reject"
    min_score: Ratio = 0.6
    min_characters: Whole = Field(default=40, ge=1)
    characters: Whole = Field(default=2000, ge=50)


class TurnLanguage(Operator):
    """Fills `language` and `language_score` with those of the response, or of the prompt where it has none.

    Sets aside other languages, doubtful ones, and answers in another language than the question.
    """

    name = "turn_language"
    reasons = frozenset({"other_language", "low_score", "language_mismatch"})
    changes = True
    config: TurnLanguageConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`, which holds conversations."""
        decided = Decisions(self, batch)
        names, scores = [""] * batch.num_rows, [0.0] * batch.num_rows
        for row, text in enumerate(texts_of(batch)):
            conversation = from_text(text)
            prompt = conversation.prompt()
            asked, answered = self._identify(prompt), self._identify(conversation.response())
            names[row], scores[row] = answered if answered[0] else asked
            detail = f"prompt {_shown(asked)}, response {_shown(answered)}"
            decided.details[row] = detail
            for side in (asked, answered):
                self._check(decided, row, side, detail)
            if self.config.mismatch == "reject" and self._differ(asked, answered) and not asks_for_another(prompt):
                decided.reject(row, "language_mismatch", detail)
        result = with_column(batch, "language", pa.array(names, pa.string()))
        return decided.verdicts(with_column(result, "language_score", pa.array(scores, pa.float32())))

    def _identify(self, text: str) -> tuple[str, float]:
        """Language and score; ("", 0.0) for a text that is too short."""
        words = _CODE_BLOCK.sub(" ", text)[: self.config.characters]
        if sum(map(str.isalpha, words)) < self.config.min_characters:
            return "", 0.0
        return identify(words)

    def _check(self, decided: Decisions, row: int, side: tuple[str, float], detail: str) -> None:
        name, score = side
        if not name or not self.config.allowed:
            return
        least = self.config.allowed.get(name)
        if least is None:
            decided.reject(row, "other_language", detail)
        elif score < least:
            decided.reject(row, "low_score", f"{detail}; {score:.3f} < {least}")

    def _differ(self, asked: tuple[str, float], answered: tuple[str, float]) -> bool:
        sure = min(asked[1], answered[1]) >= self.config.min_score
        close = any(asked[0] in group and answered[0] in group for group in _CLOSE)
        return bool(asked[0] and answered[0]) and asked[0] != answered[0] and sure and not close


def _shown(side: tuple[str, float]) -> str:
    return f"{side[0]} {side[1]:.3f}" if side[0] else "not known"
