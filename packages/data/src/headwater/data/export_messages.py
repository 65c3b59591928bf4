"""Conversations of a run as JSON lines that trainers read: one folder a kind, one file for each file of documents.

Records of one kind need not have the same fields: a message may call a tool, with any arguments. A reader that takes
the first record's fields for those of all would fail at the next one. So a README.md beside the folders says what the
fields are, as a dataset card, and `datasets.load_dataset(FOLDER, KIND)` reads them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import yaml

from headwater.data.conversations.formats import FIGURES
from headwater.data.conversations.model import KINDS, Conversation, Kind
from headwater.data.conversations.records import record_of
from headwater.data.conversations.text import from_text
from headwater.data.operators import task_type
from headwater.data.operators.conversation import Conversation as ConversationOperator

COLUMNS = ("id", "source", "split", "language", "text", "verdicts")
"""What is read of documents."""
CARD = "README.md"

_STRINGS = ("id", "source", "split", "language", "task_type")
_MESSAGES = ("messages", "prompt", "chosen", "rejected", "completion")
_PLAIN = {"list": [{"name": "role", "dtype": "string"}, {"name": "content", "dtype": "string"}]}
_ANY = {"list": "json"}  # whatever a message holds (datasets 4.7 and later)


@dataclass
class Written:
    """What was written of one kind.

    Attributes:
        path: The file.
        documents: Conversations in it.
        fields: Names of the fields that its records have.
        plain: Whether its messages have a role and a content, and nothing else.
    """

    path: Path
    documents: int = 0
    fields: dict[str, None] = field(default_factory=dict)
    plain: bool = True

    def add(self, conversation: Conversation, record: Mapping[str, Any]) -> None:
        """Counts a record."""
        self.documents += 1
        self.fields.update(dict.fromkeys(record))
        self.plain &= not any(
            turn.reasoning or turn.calls or turn.name or turn.call for turn in conversation.all_turns()
        )


def write_messages(batches: Iterable[pa.RecordBatch], folder: Path) -> dict[Kind, Written]:
    """Writes conversations to a file for each kind that there is.

    Args:
        batches: Rows with `COLUMNS`, of sources of conversations.
        folder: Where the files go.

    Raises:
        DataError: A text is not that of a conversation.
    """
    written: dict[Kind, Written] = {}
    streams: dict[Kind, IO[str]] = {}
    with ExitStack() as stack:
        for batch in batches:
            for row in batch.to_pylist():
                found = from_text(row["text"])
                kind = found.kind
                if kind not in written:
                    written[kind] = Written(folder / kind)
                    streams[kind] = stack.enter_context(open(written[kind].path, "w", encoding="utf-8"))
                record = {**_known(row), **record_of(found)}
                streams[kind].write(json.dumps(record, ensure_ascii=False) + "\n")
                written[kind].add(found, record)
    return {kind: written[kind] for kind in KINDS if kind in written}


def card(parts: Iterable[tuple[Kind, Written]]) -> str:
    """The dataset card: where the records of each kind are, and what their fields are.

    Args:
        parts: What was written, of all files.
    """
    whole: dict[Kind, Written] = {}
    for kind, part in parts:
        mine = whole.setdefault(kind, Written(part.path))
        mine.fields.update(part.fields)
        mine.plain &= part.plain
    configs = [
        {"config_name": kind, "data_files": f"{kind}/*.jsonl", "features": _features(whole[kind])}
        for kind in KINDS
        if kind in whole
    ]
    # Through JSON, so that nothing is an alias of something written before.
    head = yaml.safe_dump(json.loads(json.dumps({"configs": configs})), sort_keys=False)
    calls = "\n".join(f'    load_dataset("FOLDER", "{config["config_name"]}")' for config in configs)
    return f"---\n{head}---\n\nConversations, written by `headwater data export --format messages`:\n\n{calls}\n"


def _features(written: Written) -> list[dict[str, Any]]:
    messages = _PLAIN if written.plain else _ANY
    kinds: dict[str, dict[str, Any]] = {
        **{name: {"dtype": "string"} for name in _STRINGS}, **{name: {"dtype": "float64"} for name in FIGURES},
        **{name: messages for name in _MESSAGES}, "label": {"dtype": "bool"}, "tools": {"dtype": "json"},
    }  # fmt: skip
    return [{"name": name, **kind} for name, kind in kinds.items() if name in written.fields]


def _known(row: dict[str, Any]) -> dict[str, Any]:
    """What a record says besides the conversation: where it is from, its type of task, figures of a preference."""
    details = {each["operator"]: each["detail"] for each in row["verdicts"]}
    figures = json.loads(details.get(ConversationOperator.name) or "{}")
    return {
        **{name: row[name] for name in ("id", "source", "split", "language")},
        "task_type": details.get(task_type.NAME, ""),
        **{name: float(figures[name]) for name in FIGURES if name in figures},
    }
