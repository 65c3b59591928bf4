"""What the page says of instruction data: kinds, formats and types of tasks, before and after."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from headwater.data.arrow import values
from headwater.data.inspect.select import Documents
from headwater.data.operators import task_type
from headwater.data.operators.conversation import Conversation


@dataclass
class Count:
    """Conversations that stayed and that went."""

    kept: int = 0
    rejected: int = 0

    @property
    def documents(self) -> int:
        """All of them."""
        return self.kept + self.rejected

    @property
    def ratio(self) -> float:
        """The share that stayed."""
        return self.kept / self.documents if self.documents else 0.0


Counts = dict[str, Count]


@dataclass
class Conversations:
    """Counts by kind with format, by turns, and by type of task; the whole table is empty without instruction data."""

    kinds: Counts = field(default_factory=dict)
    turns: Counts = field(default_factory=dict)
    tasks: Counts = field(default_factory=dict)

    def ranked(self) -> list[tuple[str, list[tuple[str, Count, float]]]]:
        """Title and rows of each table that has any: name, count, and share of what stayed."""
        found: list[tuple[str, list[tuple[str, Count, float]]]] = []
        for title, counts in (("type of task", self.tasks), ("kind", self.kinds), ("turns", self.turns)):
            stayed = sum(count.kept for count in counts.values()) or 1
            rows = sorted(counts.items(), key=lambda item: (-item[1].kept, -item[1].documents, item[0]))
            if counts is self.turns:
                rows.sort(key=lambda item: (len(item[0]), item[0]))
            if rows:
                found.append((title, [(name, count, count.kept / stayed) for name, count in rows]))
        return found


def gather(documents: Documents, sources: Sequence[str]) -> Conversations:
    """Counts the conversations of some sources by their verdicts; no text is read."""
    found = Conversations()
    for kept in (True, False) if sources else ():
        for rows in documents.scan(kept, ("source", "verdicts"), sources):
            for verdicts in values(rows, "verdicts"):
                details = {verdict["operator"]: verdict["detail"] for verdict in verdicts}
                known = _facts(details.get(Conversation.name, ""))
                if known:
                    _add(found.kinds, ", ".join(dict.fromkeys((known["kind"], known["format"]))), kept)
                    _add(found.turns, _range(known["turns"]), kept)
                if task_type.NAME in details:
                    _add(found.tasks, details[task_type.NAME], kept)
    return found


def _add(counts: Counts, name: str, kept: bool) -> None:
    count = counts.setdefault(name, Count())
    count.kept, count.rejected = count.kept + kept, count.rejected + (not kept)


def _range(turns: int) -> str:
    if turns <= 4:
        return str(turns)
    low = 1 << (turns - 1).bit_length() - 1
    return f"{low + 1:,} to {2 * low:,}"


def _facts(detail: str) -> dict[str, Any]:
    """A verdict's detail; of a record that was set aside it is a sentence."""
    return json.loads(detail) if detail[:1] == "{" else {}
