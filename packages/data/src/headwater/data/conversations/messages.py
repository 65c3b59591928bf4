"""Messages as data sets write them, `role` and `content` or `from` and `value`, to turns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headwater.data.conversations.model import Role, ToolCall, Turn

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "ai": "assistant", "bing": "assistant", "bard": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "ipython": "tool",
}  # fmt: skip
"""Names of roles in data sets, in lower case. `function_call` is an assistant that calls a tool."""

_CALL = "function_call"
_REASONING = ("reasoning_content", "reasoning", "thinking")


class Unusable(Exception):
    """What a record is set aside for.

    Args:
        reason: Of `check.REASONS`.
        detail: What was found, and what was expected.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def turns_of(value: Any, field: str, role: Role) -> tuple[Turn, ...]:
    """The turns in a field: a string is one of `role`; else messages, or one message.

    Raises:
        Unusable: It is something else.
    """
    if isinstance(value, str):
        return (Turn(role, value),)
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise Unusable("wrong_type", f"{field} is {named(value)}, expected messages or a string")
    turns = [_turn(message, f"{field}[{place}]") for place, message in enumerate(value)]
    return tuple(turn for turn in turns if turn.role != "system" or turn.content.strip())


def text_of(value: Any, field: str) -> str:
    """A string field.

    Raises:
        Unusable: It is something else.
    """
    if not isinstance(value, str):
        raise Unusable("wrong_type", f"{field} is {named(value)}, expected a string")
    return value


def json_text(value: Any, field: str) -> str:
    """A field that holds JSON, parsed or not, as JSON.

    Raises:
        Unusable: It is nested too deeply.
    """
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError as error:
        raise Unusable("wrong_type", f"{field} is nested too deeply") from error


def named(value: Any) -> str:
    """What a value is, in JSON's words."""
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _turn(message: Any, field: str) -> Turn:
    if not isinstance(message, Mapping):
        raise Unusable("wrong_type", f"{field} is {named(message)}, expected an object with role and content")
    given = message.get("role", message.get("from"))
    content = message.get("content", message.get("value"))
    if not isinstance(given, str):
        raise Unusable("unknown_role", f"{field} has {'no role' if given is None else f'{named(given)} for a role'}")
    if given.lower() == _CALL:
        return Turn("assistant", "", calls=tuple(_calls_in(content, field)))
    role = ROLES.get(given.strip().lower())
    if role is None:
        raise Unusable("unknown_role", f"{field} has the role {given[:40]!r}, known are {', '.join(ROLES)}, {_CALL}")
    calls = tuple(_calls(message, field)) if role == "assistant" else ()
    if content is None and not calls:
        raise Unusable("missing_field", f"{field} has no content")
    reasoning = next((message[name] for name in _REASONING if message.get(name)), "") if role == "assistant" else ""
    return Turn(role, _content(content, field), text_of(reasoning, f"{field}.reasoning"), calls,
                _name(message, "name"), _name(message, "tool_call_id") if role == "tool" else "")  # fmt: skip


def _content(value: Any, field: str) -> str:
    """A message's content: a string, null beside tool calls, or parts, of which each has to be text."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        return text_of(value, f"{field}.content")
    texts: list[str] = []
    for part in value:
        text = part.get("text") if isinstance(part, Mapping) else part
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        if not isinstance(text, str) or kind not in ("text", "input_text", "output_text"):
            raise Unusable("not_text", f"{field} has a part that is {kind if isinstance(kind, str) else named(part)}")
        texts.append(text)
    return "".join(texts)  # as the templates of models that read parts put them together


def _calls(message: Mapping[str, Any], field: str) -> Iterable[ToolCall]:
    given = message.get("tool_calls") or ()
    if not isinstance(given, list | tuple):
        raise Unusable("wrong_type", f"{field}.tool_calls is {named(given)}, expected a list")
    for call in given:
        yield _call(call, f"{field}.tool_calls")
    if message.get(_CALL):
        yield from _calls_in(message[_CALL], f"{field}.{_CALL}")


def _calls_in(value: Any, field: str) -> Iterable[ToolCall]:
    """Calls that are written as JSON in a text, one or a list."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Unusable("wrong_type", f"{field} is no JSON object with name and arguments") from error
    for call in value if isinstance(value, list) else [value]:
        yield _call(call, field)


def _call(value: Any, field: str) -> ToolCall:
    function = value.get("function", value) if isinstance(value, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise Unusable("wrong_type", f"{field} has a call without a name")
    arguments = function.get("arguments", function.get("parameters"))
    return ToolCall(function["name"], json_text({} if arguments is None else arguments, field), _name(value, "id"))


def _name(message: Mapping[str, Any], key: str) -> str:
    value = message.get(key)
    return value if isinstance(value, str) else ""
