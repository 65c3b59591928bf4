r"""The canonical text of a conversation, which operators see as the text of a document, and the way back.

Every part begins on a line of its own with a marker, and is written as it is:

    ⟦#⟧ tools   ⟦*⟧ system   ⟦?⟧ user   ⟦~⟧ reasoning   ⟦!⟧ assistant   ⟦>⟧ tool call   ⟦=⟧ tool result
    ⟦+⟧ the chosen answer begins   ⟦-⟧ the rejected answer begins

A marker may hold attributes with URL escapes: `⟦> name=weather id=call_1⟧ {"city": "Bergen"}`. A line of a part that
begins with ⟦, after any number of backslashes, gets one more backslash in front, so no content is taken for a marker.

Markers hold no word: in n-grams, shingles and counts of words a conversation is what was said, end to end, and runs of
words are found across turns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar
from urllib.parse import quote, unquote

from headwater.core.errors import DataError
from headwater.data.conversations.model import Conversation, Role, ToolCall, Turn

Kind = TypeVar("Kind")

SIGNS: dict[str, Role] = {"*": "system", "?": "user", "!": "assistant", "=": "tool"}
TITLES = {**SIGNS, "#": "tools", "~": "reasoning", ">": "tool call", "+": "chosen answer", "-": "rejected answer"}
"""What each sign stands for, in words."""

_SIGN_OF = {role: sign for sign, role in SIGNS.items()}
MARKER = re.compile(r"(?:\A|\n)⟦([#*?~!>=+-])((?: (?:id|name)=[^\s⟦⟧]*)*)⟧ ?")
"""A marker, with the line feed before it; groups: its sign, its attributes."""
_MARKER_BYTES = re.compile(MARKER.pattern.encode())
_TO_ESCAPE = re.compile(r"\n(\\*)⟦")
_ESCAPED = re.compile(r"\n\\(\\*)⟦")


def to_text(conversation: Conversation) -> str:
    """The canonical text."""
    parts = [_part("#", conversation.tools)] if conversation.tools else []
    parts += _turns(conversation.turns)
    for sign, answer in (("+", conversation.chosen), ("-", conversation.rejected)):
        if answer is not None:
            parts += [_part(sign, ""), *_turns(answer)]
    return "\n".join(parts)


def from_text(text: str) -> Conversation:
    """The conversation that a canonical text holds, also after its contents were edited.

    Raises:
        DataError: It is no such text.
    """
    tools = ""
    turns: list[Turn] = []
    answers: dict[str, list[Turn]] = {}
    here, reasoning = turns, ""
    for sign, attributes, content in _parts(text):
        if reasoning and sign != "!":
            raise _damaged(f"reasoning before ⟦{sign}⟧")
        if sign == "#":
            tools = content
        elif sign == "~":
            reasoning = content
        elif sign in "+-":
            here = answers[sign] = []
        elif sign == ">":
            if not here or here[-1].role != "assistant":
                raise _damaged("a tool call that no assistant makes")
            call = ToolCall(attributes.get("name", ""), content, attributes.get("id", ""))
            here[-1] = replace(here[-1], calls=(*here[-1].calls, call))
        else:
            name, call_id = attributes.get("name", ""), attributes.get("id", "")
            here.append(Turn(SIGNS[sign], content, reasoning, name=name, call=call_id))
            reasoning = ""
    if reasoning:
        raise _damaged("reasoning at the end")
    chosen, rejected = (tuple(answers[sign]) if sign in answers else None for sign in "+-")
    return Conversation(tuple(turns), chosen, rejected, tools)


def outside_markers(data: bytes, spans: Iterable[tuple[int, int, Kind]]) -> list[tuple[int, int, Kind]]:
    """The parts of spans that lie in contents: what edits a conversation leaves its markers alone.

    Args:
        data: A canonical text in UTF-8.
        spans: Bytes [start, stop), in order and apart, and what each is.
    """
    marks = [match.span() for match in _MARKER_BYTES.finditer(data)]
    left: list[tuple[int, int, Kind]] = []
    first = 0
    for start, stop, kind in spans:
        while first < len(marks) and marks[first][1] <= start:
            first += 1
        for mark, end in marks[first:]:
            if mark >= stop:
                break
            left.append((start, mark, kind))
            start = end
        left.append((start, stop, kind))
    return [each for each in left if each[0] < each[1]]


def _turns(turns: Sequence[Turn]) -> Iterator[str]:
    for turn in turns:
        if turn.reasoning:
            yield _part("~", turn.reasoning)
        yield _part(_SIGN_OF[turn.role], turn.content, name=turn.name, id=turn.call)
        for call in turn.calls:
            yield _part(">", call.arguments, name=call.name, id=call.id)


def _part(sign: str, content: str, **attributes: str) -> str:
    given = "".join(f" {name}={quote(value)}" for name, value in attributes.items() if value)
    content = _TO_ESCAPE.sub(r"\n\\\1⟦", content) if "⟦" in content else content
    return f"⟦{sign}{given}⟧ {content}" if content else f"⟦{sign}{given}⟧"


def _parts(text: str) -> Iterator[tuple[str, dict[str, str], str]]:
    """Sign, attributes and content of each part."""
    marks = list(MARKER.finditer(text))
    if not marks or marks[0].start():
        raise _damaged(f"{text[:40]!r} at the beginning")
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=True):
        content = text[mark.end() : end]
        if "⟦" in content:
            content = _ESCAPED.sub(r"\n\1⟦", content)
        pairs = (pair.partition("=") for pair in mark[2].split())
        yield mark[1], {name: unquote(value) for name, _, value in pairs}, content


def _damaged(found: str) -> DataError:
    return DataError("the text is not that of a conversation", found=found, expected="⟦?⟧ …, as conversations are kept",
                     hint="run: headwater verify")  # fmt: skip
