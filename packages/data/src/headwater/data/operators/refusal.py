"""Answers that refuse, or that only say that a program is speaking: told by how they begin."""

from __future__ import annotations

import json
from typing import Literal

import pyarrow as pa

from headwater.data.conversations.refusals import Kind, begins_with
from headwater.data.conversations.text import from_text
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.rows import texts_of


class RefusalConfig(OperatorConfig):
    """Options of `refusal`.

    Attributes:
        kinds: Refusals, or also disclaimers ("As an AI, I have no opinions, but …").
        turns: Which of an assistant's turns count: any, or the last only.
    """

    kinds: tuple[Kind, ...] = ("refusal",)
    turns: Literal["any", "last"] = "any"


class Refusal(Operator):
    """Sets aside conversations in which the assistant refuses.

    Of a preference only the chosen answer counts, and none of an answer that was labelled bad. The detail is JSON: the
    number of the assistant's turn, the language of the rule, and the words.
    """

    name = "refusal"
    reasons = frozenset({"refusal", "disclaimer"})
    live_only = True
    config: RefusalConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`, which holds conversations."""
        decided = Decisions(self, batch)
        for row, text in enumerate(texts_of(batch)):
            conversation = from_text(text)
            if conversation.kind == "label" and conversation.chosen is None:
                continue
            said = [turn.content for turn in conversation.answer if turn.role == "assistant"]
            last = len(said) - 1
            for number, content in enumerate(said):
                if self.config.turns == "last" and number != last:
                    continue
                found = begins_with(content)
                if found is None or found.kind not in self.config.kinds:
                    continue
                words = content[found.start : found.stop]
                detail = {"turn": number + 1, "language": found.language, "words": words}
                decided.reject(row, found.kind, json.dumps(detail, ensure_ascii=False))
                decided.count(f"language_{found.language}")
                break
        return decided.verdicts()
