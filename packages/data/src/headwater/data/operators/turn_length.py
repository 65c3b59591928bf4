"""Limits on what users ask and what assistants answer: characters, words, and how long one is beside the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from headwater.core.config import Whole
from headwater.data.arrow import compute
from headwater.data.conversations.text import from_text
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.text_split import split_texts
from headwater.data.rows import texts_of

SIDES = ("prompt", "response")
MEASURES = ("characters", "words")


class TurnLengthConfig(OperatorConfig):
    """Options of `turn_length`. Each limit is inclusive; null switches it off, and at least one is given.

    The prompt is what users say in all turns together. The response is what the assistant says: in a chat in all turns
    together, in a preference in the chosen answer.

    Attributes:
        min_prompt_characters, max_prompt_characters: Unicode code points.
        min_prompt_words, max_prompt_words: Runs of characters between white space.
        min_response_characters, max_response_characters, min_response_words, max_response_words: Likewise.
        min_ratio, max_ratio: Characters of the response for each of the prompt.
    """

    min_prompt_characters: Whole | None = Field(default=None, ge=0)
    max_prompt_characters: Whole | None = Field(default=None, ge=0)
    min_prompt_words: Whole | None = Field(default=None, ge=0)
    max_prompt_words: Whole | None = Field(default=None, ge=0)
    min_response_characters: Whole | None = Field(default=None, ge=0)
    max_response_characters: Whole | None = Field(default=None, ge=0)
    min_response_words: Whole | None = Field(default=None, ge=0)
    max_response_words: Whole | None = Field(default=None, ge=0)
    min_ratio: float | None = Field(default=None, ge=0)
    max_ratio: float | None = Field(default=None, ge=0)

    def limits(self, side: str, measure: str) -> tuple[int | None, int | None]:
        """The least and the largest allowed value of a measure."""
        return getattr(self, f"min_{side}_{measure}"), getattr(self, f"max_{side}_{measure}")

    @model_validator(mode="after")
    def _limits(self) -> TurnLengthConfig:
        pairs = {f"{measure} of the {side}": self.limits(side, measure) for side in SIDES for measure in MEASURES}
        every = [*pairs.values(), (self.min_ratio, self.max_ratio)]
        if all(limit is None for pair in every for limit in pair):
            raise ValueError(f"turn_length needs a limit, such as {{min_response_words: 3}}; it can limit {', '.join(pairs)}, and their ratio")  # fmt: skip  # noqa: E501
        for measure, (low, high) in [*pairs.items(), ("characters of response for one of prompt", every[-1])]:
            if low is not None and high is not None and low > high:
                raise ValueError(f"no conversation has at least {low} and at most {high} {measure}")
        return self


class TurnLength(Operator):
    """Sets aside conversations of which one side is too short or too long."""

    name = "turn_length"
    reasons = frozenset(
        [f"{side}_too_{word}_{measure}" for side in SIDES for word in ("few", "many") for measure in MEASURES]
        + ["ratio_too_low", "ratio_too_high"]
    )
    live_only = True
    config: TurnLengthConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`, which holds conversations."""
        decided = Decisions(self, batch)
        conversations = [from_text(text) for text in texts_of(batch)]
        sides: dict[str, pa.Array] = {
            "prompt": pa.array([each.prompt() for each in conversations], pa.string()),
            "response": pa.array([each.response() for each in conversations], pa.string()),
        }
        for side, texts in sides.items():
            for measure in MEASURES:
                low, high = self.config.limits(side, measure)
                if low is None and high is None:
                    continue
                found = _measured(texts, measure)
                if low is not None:
                    decided.reject_where(found < low, f"{side}_too_few_{measure}", found, f"{measure} < {low:,}")
                if high is not None:
                    decided.reject_where(found > high, f"{side}_too_many_{measure}", found, f"{measure} > {high:,}")
        self._ratio(decided, sides)
        return decided.verdicts()

    def _ratio(self, decided: Decisions, sides: dict[str, pa.Array]) -> None:
        low, high = self.config.min_ratio, self.config.max_ratio
        if low is None and high is None:
            return
        ratio = _measured(sides["response"], "characters") / np.maximum(_measured(sides["prompt"], "characters"), 1)
        if low is not None:
            decided.reject_where(
                ratio < low, "ratio_too_low", ratio, f"characters of response for one of prompt < {low}"
            )
        if high is not None:
            decided.reject_where(ratio > high, "ratio_too_high", ratio, f"characters of response for one of prompt > {high}")  # fmt: skip  # noqa: E501


def _measured(texts: pa.Array, measure: str) -> npt.NDArray[np.int64]:
    """A measure of each text, shape [rows]."""
    if measure == "words":
        return split_texts(texts).words
    return compute.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
