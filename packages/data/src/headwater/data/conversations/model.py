"""What a conversation is: turns, and for preferences the answers that were chosen and rejected."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]
Kind = Literal["chat", "preference", "label"]

KINDS: tuple[Kind, ...] = ("chat", "preference", "label")
"""Kinds of conversations, which are also the folders that they are exported to."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool by the assistant.

    Attributes:
        name: Of the tool.
        arguments: JSON where the data had an object; else the string that it had.
        id: By which a result names it; "" for none.
    """

    name: str
    arguments: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message.

    Attributes:
        role: Who speaks.
        content: What is said.
        reasoning: What an assistant thought before, where the data keeps it apart.
        calls: Tools that an assistant calls.
        name: Of the speaker, or of the tool that answers; "" for none.
        call: Id of the call that a tool answers; "" for none.
    """

    role: Role
    content: str
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    name: str = ""
    call: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation of one of three kinds.

    A chat is its turns. A preference is a prompt (the turns) with two answers. A labelled answer (as KTO and other
    unpaired methods use) is a prompt with one: chosen when it was labelled good, rejected when bad.

    Attributes:
        turns: The turns of a chat; of others, the prompt.
        chosen, rejected: Answers; none where there is no such answer.
        tools: JSON of the tools that the assistant may call; "" for none.
    """

    turns: tuple[Turn, ...]
    chosen: tuple[Turn, ...] | None = None
    rejected: tuple[Turn, ...] | None = None
    tools: str = ""

    @property
    def kind(self) -> Kind:
        """Which of the three kinds it is."""
        if self.chosen is None and self.rejected is None:
            return "chat"
        return "label" if self.chosen is None or self.rejected is None else "preference"

    @property
    def answer(self) -> tuple[Turn, ...]:
        """The turns that quality is measured on: of a chat all, else the chosen answer, or the only one."""
        if self.chosen is not None:
            return self.chosen
        return self.turns if self.rejected is None else self.rejected

    def all_turns(self) -> tuple[Turn, ...]:
        """The turns, then those of the chosen and of the rejected answer."""
        return (*self.turns, *(self.chosen or ()), *(self.rejected or ()))

    def prompt(self) -> str:
        """What users say, put together."""
        return _said(self.turns, "user")

    def first_prompt(self) -> str:
        """What a user says first; "" where none speaks."""
        return next((turn.content for turn in self.turns if turn.role == "user"), "")

    def response(self) -> str:
        """What the assistant says in `answer`, put together."""
        return _said(self.answer, "assistant")


def _said(turns: Iterable[Turn], role: Role) -> str:
    return "\n\n".join(turn.content for turn in turns if turn.role == role)
