"""Conversations as records that trainers read: the conversational formats of TRL, and messages for chat templates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from headwater.data.conversations.model import Conversation, ToolCall, Turn


def record_of(conversation: Conversation) -> dict[str, Any]:
    """The fields of a record.

    Returns:
        Of a chat `messages`; of a preference `prompt`, `chosen` and `rejected`; of a labelled answer `prompt`,
        `completion` and `label`; with `tools` where there are any.
    """
    chosen, rejected = conversation.chosen, conversation.rejected
    turns = messages(conversation.turns)
    if chosen is not None and rejected is not None:
        record: dict[str, Any] = {"prompt": turns, "chosen": messages(chosen), "rejected": messages(rejected)}
    elif conversation.kind == "label":
        record = {"prompt": turns, "completion": messages(conversation.answer), "label": chosen is not None}
    else:
        record = {"messages": turns}
    return {**record, "tools": _parsed(conversation.tools, list)} if conversation.tools else record


def messages(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Turns as messages; a key that has nothing to say is left out."""
    return [
        {"role": turn.role, "content": turn.content}
        | ({"reasoning_content": turn.reasoning} if turn.reasoning else {})
        | ({"tool_calls": [_call(call) for call in turn.calls]} if turn.calls else {})
        | ({"name": turn.name} if turn.name else {})
        | ({"tool_call_id": turn.call} if turn.call else {})
        for turn in turns
    ]


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": _parsed(call.arguments, dict)}
    return {"type": "function", "function": function} | ({"id": call.id} if call.id else {})


def _parsed(text: str, kind: type) -> Any:
    """The object or list in a JSON text, as templates want it; the text itself where it holds none any more."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, kind) else text
