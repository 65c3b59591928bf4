"""Sentences in which the names of people are marked, in the forms in which such data is usually kept.

JSON lines hold one sentence each: `{"text": "…", "names": [[start, stop], …]}`, places in characters, or
`{"tokens": […], "labels": […]}`. Files in columns hold a token and, last, its label a line, and an empty line after
each sentence (CoNLL 2003). Labels are B-PER, I-PER and the like; those of anything but people count as O.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from headwater.core.console import warn
from headwater.core.errors import DataError
from headwater.core.storage import storage_errors
from headwater.data.models.names import begins_name, is_name

ROWS, COLUMNS = (".jsonl", ".jsonl.gz"), (".conll", ".iob", ".bio", ".tsv", ".txt")
_EXPECTED = '{"text": …, "names": [[start, stop], …]} or {"tokens": […], "labels": […]} a line, or CoNLL columns'


class Sentence(NamedTuple):
    """A text, and where the names in it are, in characters."""

    text: str
    names: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Sentences:
    """Distinct sentences in the order of their hashes, as `texts.Texts`."""

    train: list[Sentence]
    held_out: list[Sentence]
    copies: int


def read_sentences(source: Path, *, held_out_ratio: float, least: int) -> Sentences:
    """Reads the sentences of a file, or of the files of a folder.

    Args:
        source: The file or folder.
        held_out_ratio: Share of sentences held out, by the hash of their text.
        least: Fewest distinct sentences, and fewest that have a name.

    Raises:
        DataError: A file cannot be read or is not in one of the forms, or there are too few sentences.
    """
    found: dict[bytes, Sentence] = {}
    copies = 0
    for path in _files(source):
        with storage_errors("read", path):
            for sentence in _rows(path) if path.name.endswith(ROWS) else _columns(path):
                key = hashlib.sha256(sentence.text.encode()).digest()
                copies += key in found
                found.setdefault(key, sentence)
    named = sum(bool(sentence.names) for sentence in found.values())
    if min(len(found), named) < least:
        raise DataError(f"{source} holds too few sentences", found=f"{len(found):,}, {named:,} of them with a name",
                        expected=f"at least {least:,} that have names: {_EXPECTED}")  # fmt: skip
    if named == len(found):
        warn(f"{source}: every sentence has a name; give sentences without any too, so that the model learns both")
    limit = int(held_out_ratio * 2**32)
    both: tuple[list[Sentence], list[Sentence]] = ([], [])
    for key in sorted(found):
        both[int.from_bytes(key[-4:], "big") < limit].append(found[key])
    return Sentences(*both, copies)


def of_tokens(tokens: list[str], labels: list[str]) -> Sentence:
    """The sentence of tokens, with spaces between them, and of a label for each."""
    text = " ".join(tokens)
    names: list[tuple[int, int]] = []
    place, inside = 0, False
    for token, label in zip(tokens, labels, strict=True):
        stop = place + len(token)
        if is_name(label) and inside and not begins_name(label):
            names[-1] = (names[-1][0], stop)
        elif is_name(label):
            names.append((place, stop))
        inside = is_name(label)
        place = stop + 1
    return Sentence(text, tuple(names))


def _files(source: Path) -> list[Path]:
    found = [source] if source.is_file() else sorted(source.rglob("*")) if source.is_dir() else []
    files = [path for path in found if path.is_file() and path.name.endswith((*ROWS, *COLUMNS))]
    if not files:
        raise DataError(f"there are no sentences in {source}", found="a file of another kind" if found else "nothing",
                        expected=f"files ending in {' '.join((*ROWS, *COLUMNS))}")  # fmt: skip
    return files


def _rows(path: Path) -> Iterator[Sentence]:
    opener: Any = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                try:
                    yield _row(json.loads(line))
                except (ValueError, TypeError, KeyError) as error:
                    raise DataError(f"{path}, line {number}, is no labelled sentence: {error!r}",
                                    expected=_EXPECTED) from error  # fmt: skip


def _row(row: dict[str, Any]) -> Sentence:
    if "tokens" in row:
        return of_tokens([str(token) for token in row["tokens"]], [str(label) for label in row["labels"]])
    text, names = row["text"], tuple(sorted((int(start), int(stop)) for start, stop in row["names"]))
    if not isinstance(text, str) or any(not 0 <= start < stop <= len(text) for start, stop in names):
        raise ValueError("a name that is not inside the text")
    return Sentence(text.encode("utf-8", "replace").decode(), names)


def _columns(path: Path) -> Iterator[Sentence]:
    tokens: list[str] = []
    labels: list[str] = []
    for number, line in enumerate([*path.read_text(encoding="utf-8").split("\n"), ""], 1):
        parts = line.split()
        if len(parts) == 1:
            raise DataError(f"{path}, line {number}, has a token without a label", found=line[:100], expected=_EXPECTED)
        if parts:
            tokens.append(parts[0])
            labels.append(parts[-1])
        elif tokens:
            if tokens[0] != "-DOCSTART-":
                yield of_tokens(tokens, labels)
            tokens, labels = [], []
