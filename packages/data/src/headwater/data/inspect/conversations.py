"""Conversations as people read them: who speaks instead of the markers, and what decided."""

from __future__ import annotations

import re

from headwater.data.conversations.text import MARKER, TITLES
from headwater.data.inspect.passages import Passage, Piece
from headwater.data.inspect.repeats import Span
from headwater.data.inspect.select import Found, facts
from headwater.data.operators import task_balance, task_type
from headwater.data.operators.conversation import Conversation
from headwater.data.operators.refusal import Refusal


def is_conversation(document: Found) -> bool:
    """Whether a document is one."""
    return any(verdict["operator"] == Conversation.name for verdict in document.verdicts)


def spoken(passage: Passage) -> Passage:
    """A passage with the name of each role in the place of its marker."""
    return Passage(passage.title, tuple(Piece(mark, MARKER.sub(_titled, text)) for mark, text in passage.pieces))


def notes(document: Found) -> list[str]:
    """What was found out about a conversation; and of one that was too many, how many of its type stay."""
    details = {verdict["operator"]: verdict["detail"] for verdict in document.verdicts}
    known = facts(details.get(Conversation.name, ""))
    said = [f"{known['kind']} in format {known['format']}, {known['turns']} turns"] if "kind" in known else []
    said += [f"type of task: {details[task_type.NAME]}"] if details.get(task_type.NAME) else []
    why = facts(document.detail)
    if document.reason == task_balance.REASON and "of" in why:
        said.append(f"{why['stay']:,} of {why['of']:,} conversations of its type stay")
    if document.reason in Refusal.reasons and "turn" in why:
        said.append(f"marked: how turn {why['turn']} of the assistant begins, by a rule for {why['language']}")
    return said


def spans(document: Found) -> list[Span]:
    """Where a refusal is."""
    why = facts(document.detail)
    if document.reason not in Refusal.reasons or "turn" not in why:
        return []
    answer = max(document.text.find("\n⟦+⟧"), 0)  # of a preference, the chosen one counts
    turns = [mark.end() for mark in MARKER.finditer(document.text, answer) if mark[1] == "!"]
    place = document.text.find(why["words"], turns[why["turn"] - 1]) if why["turn"] <= len(turns) else -1
    return [(place, place + len(why["words"]))] if place >= 0 else []


def _titled(mark: re.Match[str]) -> str:
    before = "\n\n" if mark[0][0] == "\n" else ""
    named = re.sub(r" (?:id|name)=", " ", mark[2])
    return f"{before}[{TITLES[mark[1]]}{named}] "
