"""The parts of an evaluation item: what is asked, and what goes with it.

Multiple choice: the question, then the choices. Word problems: the question, then the worked answer, without the
calculator annotations, which no other copy of the text would have. Code: the prompt, then the known solution.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

_CALCULATOR = re.compile(r"<<[^>]*>>")


class ItemParts(NamedTuple):
    """An item's text is `question` followed by `rest`."""

    question: str
    rest: str

    @property
    def text(self) -> str:
        """What training documents are compared with."""
        return self.question + self.rest


def item_parts(fields: dict[str, Any]) -> ItemParts:
    """The parts of an item with these fields."""
    if "canonical_solution" in fields:
        return ItemParts(fields["prompt"], fields["canonical_solution"])
    if "choices" in fields:
        return ItemParts(fields["question"], "".join(f"\n{choice}" for choice in fields["choices"]))
    return ItemParts(fields["question"], "\n" + _CALCULATOR.sub("", fields["answer"]))


def question_of(text: str, fields_json: str | None) -> str:
    """The question of a recorded item; the whole text where its fields do not tell.

    Args:
        text: The item's text.
        fields_json: The whole item, as `items.parquet` has it.
    """
    try:
        parts = item_parts(json.loads(fields_json or "{}"))
    except (KeyError, TypeError, ValueError):
        return text
    return parts.question if parts.question.strip() and parts.text == text else text
