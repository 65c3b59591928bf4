"""Conversations from the records of instruction data: read, checked, and written in their canonical form."""

from __future__ import annotations

import json
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, field_validator

from headwater.core.config import NotValid, Whole, nearest
from headwater.data.arrow import values
from headwater.data.conversations import check, formats
from headwater.data.conversations.messages import Unusable, named
from headwater.data.conversations.text import to_text
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.rows import CONVERSATION, with_column

COLUMNS = ("instruction", "input", "output", "history", "system", "conversations", "messages", "tools", "prompt",
           "completion", "label", "chosen", "rejected", *formats.FIGURES)  # fmt: skip
"""Fields of the formats, which a recipe may give other names."""


class ConversationConfig(OperatorConfig):
    """Options of `conversation`.

    Attributes:
        format: Of the records; `auto` tells it from the fields of each.
        columns: Name of a field in the format → its name in the data, where they differ.
        max_turns: Of a conversation, with both answers of a preference.
        max_characters: Of a conversation.
        max_bytes: Of a record.
    """

    format: Literal["auto"] | formats.Format = "auto"
    columns: dict[str, str] = Field(default={})
    max_turns: Whole = Field(default=1_000, ge=1)
    max_characters: Whole = Field(default=1_000_000, ge=1)
    max_bytes: Whole = Field(default=16 * 1024 * 1024, ge=1)

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: dict[str, str]) -> dict[str, str]:
        for name in columns:
            if name not in COLUMNS:
                near = nearest(name, COLUMNS)
                raise NotValid(f"fields of the formats: {', '.join(COLUMNS)}, not {name}",
                               f"did you mean {near}?" if near else None)  # fmt: skip
        return columns


class Conversation(Operator):
    """Fills `text` with the conversation that is in `payload`, and empties `payload`.

    The detail of its verdict is JSON: format, kind, turns, and the figures of a preference.
    """

    name = "conversation"
    reasons = check.REASONS
    changes = True
    config: ConversationConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `payload` and `content_type`."""
        decided, texts = Decisions(self, batch), [""] * batch.num_rows
        columns = zip(values(batch, "payload"), values(batch, "content_type"), strict=True)
        for row, (payload, media_type) in enumerate(columns):
            try:
                texts[row] = self._one(decided, row, self._record(payload, media_type))
            except Unusable as error:
                # A field's name may hold what no text holds.
                decided.reject(row, error.reason, str(error)[:500].encode("utf-8", "replace").decode())
        result = with_column(batch, "text", pa.array(texts, pa.string()))
        result = with_column(result, "content_type", pa.array([CONVERSATION] * len(texts), pa.string()))
        return decided.verdicts(with_column(result, "payload", pa.array([b""] * len(texts), pa.binary())))

    def _record(self, payload: bytes, media_type: str) -> dict[str, Any]:
        if media_type != "application/json":
            raise Unusable("bad_json", f"{media_type or 'no media type'}; a source of records needs `record: true`")
        if len(payload) > self.config.max_bytes:
            raise Unusable("too_long", f"{len(payload):,} bytes, at most {self.config.max_bytes:,}")
        try:
            record = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise Unusable("bad_json", f"no JSON that can be read: {str(error)[:200]}") from error
        if not isinstance(record, dict):
            raise Unusable("bad_json", f"{named(record)}, expected an object")
        return record

    def _one(self, decided: Decisions, row: int, record: dict[str, Any]) -> str:
        """The text of a record; also of one that is set aside after all, where there is one."""
        config = self.config
        name, found = formats.read(record, config.format, config.columns)
        decided.count(f"format_{name}")
        try:
            check.check(found, config.max_turns, config.max_characters)
        except Unusable as error:
            decided.reject(row, error.reason, str(error))
            return "" if error.reason in check.WITHOUT_TEXT else to_text(found)
        decided.count(f"kind_{found.kind}")
        figures = formats.figures(record, config.columns) if found.kind == "preference" else {}
        turns = len(found.all_turns())
        decided.details[row] = json.dumps({"format": name, "kind": found.kind, "turns": turns, **figures})
        return to_text(found)
