"""The formats of instruction data, told apart by their fields, and how a record of each becomes a conversation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from headwater.data.conversations.messages import Unusable, json_text, named, text_of, turns_of
from headwater.data.conversations.model import Conversation, Turn

Format = Literal["alpaca", "sharegpt", "messages", "prompt_completion", "preference", "label"]
FORMATS: tuple[Format, ...] = get_args(Format)

Record = Mapping[str, Any]

_ALIASES: dict[str, tuple[str, ...]] = {
    "input": ("context",), "output": ("response",), "completion": ("response",), "system": ("system_prompt",),
    "score_chosen": ("chosen_score", "chosen-rating", "chosen_rating"),
    "score_rejected": ("rejected_score", "rejected-rating", "rejected_rating"),
}  # fmt: skip
"""Other names that fields have in data sets."""

FIGURES = ("score_chosen", "score_rejected", "margin")
"""Numbers that a preference may have; they are kept with the document."""


_TOLD_BY: dict[Format, tuple[str, ...]] = {
    "messages": ("messages",), "sharegpt": ("conversations",), "alpaca": ("instruction", "output"),
    "prompt_completion": ("prompt", "completion"),
}  # fmt: skip


class Fields:
    """The fields of one record that are not null, under their names in the formats.

    Args:
        record: A JSON object.
        columns: Name in the format → name in the data, where they differ.
    """

    def __init__(self, record: Record, columns: Mapping[str, str]) -> None:
        self.record, self.columns = record, columns

    def get(self, name: str) -> Any:
        """A field's value; None where there is none."""
        if name in self.columns:
            return self.record.get(self.columns[name])
        return next((v for key in (name, *_ALIASES.get(name, ())) if (v := self.record.get(key)) is not None), None)

    def has(self, *names: str) -> bool:
        """Whether all of these are there."""
        return all(self.get(name) is not None for name in names)

    def need(self, name: str) -> Any:
        """A field's value.

        Raises:
            Unusable: There is none.
        """
        value = self.get(name)
        if value is None:
            raise Unusable("missing_field", f"no {self.columns.get(name, name)}; {self.found()}")
        return value

    def found(self) -> str:
        """The fields that there are, with what they are, in words."""
        shown = [f"{str(name)[:40]} ({named(value)})" for name, value in list(self.record.items())[:20]]
        return f"found {', '.join(shown)}" if shown else "found no field"


def read(record: Record, wanted: Format | Literal["auto"], columns: Mapping[str, str]) -> tuple[Format, Conversation]:
    """The conversation in a record, and the format that it has.

    Args:
        record: A JSON object.
        wanted: The format; "auto" tells it from the fields that are there.
        columns: Name of a field in the format → its name in the record, where they differ.

    Raises:
        Unusable: It is none, or lacks something.
    """
    fields = Fields(record, columns)
    name = detect(fields) if wanted == "auto" else wanted
    if name is None:
        raise Unusable("unknown_format", fields.found())
    conversation = _READERS[name](fields)
    tools = fields.get("tools")
    return name, _with(conversation, _system(fields), json_text(tools, "tools") if tools else "")


def detect(fields: Fields) -> Format | None:
    """The format of a record, by its fields; the most telling ones first."""
    if fields.has("chosen", "rejected"):
        return "preference"
    if fields.has("prompt", "completion", "label") and isinstance(fields.get("label"), bool):
        return "label"
    return next((name for name, needed in _TOLD_BY.items() if fields.has(*needed)), None)


def figures(record: Record, columns: Mapping[str, str]) -> dict[str, float]:
    """The numbers of `FIGURES` that a record has."""
    fields = Fields(record, columns)
    values = {name: fields.get(name) for name in FIGURES}
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18 and math.isfinite(value)
    }


def _alpaca(fields: Fields) -> Conversation:
    instruction, given = text_of(fields.need("instruction"), "instruction"), fields.get("input")
    given = "" if given is None else text_of(given, "input")
    asked = f"{instruction}\n\n{given}" if given.strip() else instruction
    turns: list[Turn] = []
    history = fields.get("history") or []
    if not isinstance(history, list):
        raise Unusable("wrong_type", f"history is {named(history)}, expected a list of pairs")
    for pair in history:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Unusable("wrong_type", f"history has {named(pair)}, expected pairs of strings")
        turns += [Turn("user", text_of(pair[0], "history")), Turn("assistant", text_of(pair[1], "history"))]
    return Conversation((*turns, Turn("user", asked), Turn("assistant", text_of(fields.need("output"), "output"))))


def _messages(fields: Fields) -> Conversation:
    return Conversation(turns_of(_listed(fields, "messages"), "messages", "user"))


def _sharegpt(fields: Fields) -> Conversation:
    return Conversation(turns_of(_listed(fields, "conversations"), "conversations", "user"))


def _listed(fields: Fields, name: str) -> Any:
    value = fields.need(name)
    if not isinstance(value, list):
        raise Unusable("wrong_type", f"{name} is {named(value)}, expected a list of messages")
    return value


def _prompt_completion(fields: Fields) -> Conversation:
    prompt, completion = _prompt(fields), turns_of(fields.need("completion"), "completion", "assistant")
    return Conversation((*prompt, *completion))


def _label(fields: Fields) -> Conversation:
    prompt, completion = _prompt(fields), turns_of(fields.need("completion"), "completion", "assistant")
    label = fields.need("label")
    if label not in (True, False):
        raise Unusable("wrong_type", f"label is {named(label)}, expected true or false")
    return Conversation(prompt, completion, None) if label else Conversation(prompt, None, completion)


def _preference(fields: Fields) -> Conversation:
    chosen, rejected = fields.need("chosen"), fields.need("rejected")
    prompt = _prompt(fields) if fields.has("prompt") else ()
    if isinstance(chosen, str) and isinstance(rejected, str) and not prompt:
        return _shared_beginning(chosen, rejected)
    both = turns_of(chosen, "chosen", "assistant"), turns_of(rejected, "rejected", "assistant")
    if prompt and all(not turns or turns[0].role == "assistant" for turns in both):
        return Conversation(prompt, *both)
    return _shared_turns(prompt, *both)


def _shared_turns(prompt: tuple[Turn, ...], chosen: tuple[Turn, ...], rejected: tuple[Turn, ...]) -> Conversation:
    """Answers that repeat the prompt: it is the turns that both begin with."""
    size = next(
        (k for k, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), min(len(chosen), len(rejected))
    )
    if chosen == rejected:  # the last answer is what they would differ in
        size = max((k for k, turn in enumerate(chosen) if turn.role != "assistant"), default=-1) + 1
    shared = chosen[:size]
    if not size:
        raise Unusable("prompts_differ", "chosen and rejected share no first turn, and there is no prompt")
    told = [turn.content for turn in shared if turn.role == "user"]
    if prompt and prompt[-1].content not in told:
        raise Unusable("prompts_differ", f"the prompt {prompt[-1].content[:60]!r} is not what both answers begin with")
    return Conversation(shared, chosen[size:], rejected[size:])


def _shared_beginning(chosen: str, rejected: str) -> Conversation:
    """Strings without a prompt: it is what both begin with, up to a space before the first difference, as TRL cuts."""
    size = next(
        (k for k, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), min(len(chosen), len(rejected))
    )
    if 0 < size < max(len(chosen), len(rejected)) and chosen[size - 1] == " ":
        size -= 1
    if not size:
        raise Unusable("prompts_differ", "chosen and rejected begin with different characters, and there is no prompt")
    if chosen == rejected:
        raise Unusable("chosen_equals_rejected", f"both are the same {len(chosen):,} characters")
    good, bad = ((Turn("assistant", each[size:]),) for each in (chosen, rejected))
    return Conversation((Turn("user", chosen[:size]),), good, bad)


def _prompt(fields: Fields) -> tuple[Turn, ...]:
    return turns_of(fields.need("prompt"), "prompt", "user")


def _system(fields: Fields) -> str:
    value = fields.get("system")
    return "" if value is None else text_of(value, "system")


def _with(conversation: Conversation, system: str, tools: str) -> Conversation:
    """With the system message and the tools that stand in fields of their own."""
    turns = conversation.turns
    if system.strip() and not (turns and turns[0].role == "system"):
        turns = (Turn("system", system), *turns)
    return Conversation(turns, conversation.chosen, conversation.rejected, tools)


_READERS: dict[Format, Callable[[Fields], Conversation]] = {
    "alpaca": _alpaca, "sharegpt": _sharegpt, "messages": _messages, "prompt_completion": _prompt_completion,
    "preference": _preference, "label": _label,
}  # fmt: skip
