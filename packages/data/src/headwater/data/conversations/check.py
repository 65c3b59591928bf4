"""Whether a conversation is whole: who speaks when, and what is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headwater.data.conversations.messages import Unusable
from headwater.data.conversations.model import Conversation, Turn
from headwater.data.operators.charset import looks_binary

REASONS = frozenset({
    "bad_json", "unknown_format", "missing_field", "wrong_type", "not_text", "unknown_role", "empty_turn", "no_user",
    "no_assistant", "ends_with_user", "ends_with_tool", "system_not_first", "roles_do_not_alternate",
    "tool_result_without_call", "chosen_equals_rejected", "prompts_differ", "too_many_turns", "too_long",
})  # fmt: skip
"""Why a record is set aside."""
WITHOUT_TEXT = frozenset({"too_many_turns", "too_long", "not_text"})
"""Reasons of which the conversation is not kept to be looked at: it is too much, or cannot be written."""

_CALLS_IN_TEXT = ("<tool_call>", "<function", "[TOOL_CALLS]", "<|python_tag|>", "Action:")
"""How calls begin in data that writes them into the content."""
_MAX_CONTROL_RATIO = 0.002  # as `extract` takes text for binary


def check(conversation: Conversation, max_turns: int, max_characters: int) -> None:
    """Refuses what no chat template could make sense of, or no model should learn.

    Args:
        conversation: As it was read.
        max_turns: Of all its parts together.
        max_characters: Likewise.

    Raises:
        Unusable: With the first reason that holds.
    """
    turns = conversation.all_turns()
    if len(turns) > max_turns:
        raise Unusable("too_many_turns", f"{len(turns):,} turns, at most {max_turns:,}")
    size = len(conversation.tools) + sum(map(_size, turns))
    if size > max_characters:
        raise Unusable("too_long", f"{size:,} characters, at most {max_characters:,}")
    for number, turn in enumerate(turns, 1):
        _check_text(turn, number)
    _check_text(Turn("system", conversation.tools), 0)
    _check_roles(conversation.turns)
    if conversation.kind == "chat":
        _check_end(conversation.turns)
        return
    if conversation.turns[-1].role == "assistant":
        raise Unusable("roles_do_not_alternate", "the prompt ends with an answer, and another follows")
    for name, answer in (("chosen", conversation.chosen), ("rejected", conversation.rejected)):
        if answer is None:
            continue
        if not answer:
            raise Unusable("no_assistant", f"the {name} answer has no turn of its own")
        _check_roles((*conversation.turns, *answer), at=name)
        _check_end(answer, at=name)
    if conversation.kind == "preference" and _plain(conversation.chosen) == _plain(conversation.rejected):
        raise Unusable("chosen_equals_rejected", "both answers say the same")


def _check_text(turn: Turn, number: int) -> None:
    for text in _texts(turn):
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise Unusable("not_text", f"turn {number}: half of a surrogate pair {text[error.start]!a}") from error
        if looks_binary(data, _MAX_CONTROL_RATIO):
            raise Unusable("not_text", f"turn {number}: control characters")
    if number and not turn.content.strip() and not turn.calls and turn.role != "tool":
        raise Unusable("empty_turn", f"turn {number}, {turn.role}, is empty")


def _check_roles(turns: Sequence[Turn], at: str = "") -> None:
    spoken = [turn for turn in turns if turn.role != "system"]
    where = f" of the {at} answer" if at else ""
    if any(turn.role == "system" for turn in turns[1:]):
        raise Unusable("system_not_first", f"a system message after other turns{where}")
    if not any(turn.role == "user" for turn in spoken):
        raise Unusable("no_user", f"{len(spoken):,} turns, none by a user")
    before: Turn | None = None
    for number, turn in enumerate(spoken, 1):
        if turn.role == "tool":
            if before is None or before.role not in ("assistant", "tool") or not _called(spoken[: number - 1], turn):
                raise Unusable("tool_result_without_call", f"turn {number}{where} answers no call")
        elif (before is None or before.role == "assistant") != (turn.role == "user"):
            after = f"after {before.role}" if before else "at the beginning"
            raise Unusable("roles_do_not_alternate", f"turn {number}{where} is {turn.role} {after}")
        before = turn


def _called(before: Sequence[Turn], result: Turn) -> bool:
    """Whether the last assistant called what a tool answers."""
    caller = next((turn for turn in reversed(before) if turn.role == "assistant"), None)
    if caller is None:
        return False
    ids = {call.id for call in caller.calls if call.id}
    if result.call and ids:
        return result.call in ids
    return bool(caller.calls) or any(sign in caller.content for sign in _CALLS_IN_TEXT)


def _check_end(turns: Sequence[Turn], at: str = "") -> None:
    if not any(turn.role == "assistant" for turn in turns):
        where = f" of the {at} answer" if at else ""
        raise Unusable("no_assistant", f"{len(turns):,} turns{where}, none by an assistant")
    if turns[-1].role in ("user", "tool"):
        raise Unusable(f"ends_with_{turns[-1].role}", f"turn {len(turns):,} of {len(turns):,} has no answer")


def _texts(turn: Turn) -> Iterator[str]:
    yield from (turn.content, turn.reasoning, turn.name, turn.call)
    for call in turn.calls:
        yield from (call.name, call.arguments, call.id)


def _size(turn: Turn) -> int:
    return sum(map(len, _texts(turn)))


def _plain(answer: Sequence[Turn] | None) -> list[object]:
    return [(turn.role, " ".join(turn.content.split()), turn.calls) for turn in answer or ()]
