"""How well a tokenizer fits held-out text, beside others: bytes per token, vocabulary used, words in one piece."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from headwater.core.errors import ManifestError
from headwater.data.tokens.sample import Sampled, stream

REPORT = "report.json"
SAMPLE_BYTES = 500_000  # of each source
_WORD = re.compile(r"[^\W\d_]+")


class Measured(Protocol):
    """A tokenizer that can be measured."""

    @property
    def vocab_size(self) -> int:
        """Entries."""
        ...

    def ids(self, texts: Sequence[str]) -> list[Any]:
        """The token ids of each text, without special tokens around them."""
        ...


class HuggingFace:
    """A `tokenizer.json`, or a `tokenizers.Tokenizer`."""

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(tokenizer)) if isinstance(tokenizer, str | Path) else tokenizer
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()

    @property
    def vocab_size(self) -> int:
        """Entries."""
        return self._tokenizer.get_vocab_size()

    def ids(self, texts: Sequence[str]) -> list[Any]:
        """The token ids of each text."""
        return [found.ids for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


@dataclass(frozen=True)
class Figures:
    """What was measured on some documents.

    Attributes:
        documents: Documents.
        text_bytes: Their UTF-8 bytes.
        tokens: Their tokens.
        bytes_per_token: The ratio of the two; higher is better.
        one_piece_ratio: Share of the words (runs of letters, by how often they occur, with a space before them) that
            are one token, 0–1.
    """

    documents: int
    text_bytes: int
    tokens: int
    bytes_per_token: float
    one_piece_ratio: float


def held_out(documents: Path, sources: Sequence[str]) -> list[Sampled]:
    """Documents to measure on: of each source those held out, or those of training when none are."""
    found = list(stream(documents, "validation", dict.fromkeys(sources, SAMPLE_BYTES)))
    missing = [source for source in sources if source not in {document.source for document in found}]
    return found + list(stream(documents, "train", dict.fromkeys(missing, SAMPLE_BYTES)))


def measure(tokenizer: Measured, documents: Sequence[Sampled]) -> dict[str, Any]:
    """A tokenizer's figures: all documents, by source, by language.

    `vocab_used_ratio` is the share of the vocabulary that the documents use at least once.
    """
    counts: list[int] = []
    used = np.zeros(tokenizer.vocab_size, bool)
    for start in range(0, len(documents), 64):
        for ids in tokenizer.ids([document.text for document in documents[start : start + 64]]):
            counts.append(len(ids))
            used[np.asarray(ids, np.int64)] = True
    words = [Counter(_WORD.findall(document.text)) for document in documents]
    distinct = sorted(set().union(*words))
    pieces = [len(ids) for ids in tokenizer.ids([f" {word}" for word in distinct])]
    single = {word for word, count in zip(distinct, pieces, strict=True) if count == 1}
    groups: dict[str, dict[str, list[int]]] = {
        "all": {"all": list(range(len(documents)))},
        "source": {},
        "language": {},
    }
    for place, document in enumerate(documents):
        groups["source"].setdefault(document.source, []).append(place)
        groups["language"].setdefault(document.language or "none", []).append(place)

    def figures(places: list[int]) -> dict[str, Any]:
        size, tokens = sum(documents[place].text_bytes for place in places), sum(counts[place] for place in places)
        total = sum(words[place].total() for place in places)
        whole = sum(count for place in places for word, count in words[place].items() if word in single)
        return asdict(
            Figures(len(places), size, tokens, round(size / max(tokens, 1), 3), round(whole / max(total, 1), 4))
        )

    return {
        "vocab_size": tokenizer.vocab_size, "vocab_used_ratio": round(float(used.mean()) if len(used) else 0.0, 4),
        "all": figures(groups["all"]["all"]),
        "by_source": {name: figures(places) for name, places in sorted(groups["source"].items())},
        "by_language": {name: figures(places) for name, places in sorted(groups["language"].items())},
    }  # fmt: skip


def rows(report: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """A report as a table: a row for all text, for each source and for each language; a column a tokenizer."""
    names = [name for name, found in report.items() if isinstance(found, dict)]
    first = report[names[0]]
    lines: list[list[Any]] = [
        ["entries", *(report[name]["vocab_size"] for name in names)],
        ["vocabulary used", *(report[name]["vocab_used_ratio"] for name in names)],
        ["words in one piece", *(report[name]["all"]["one_piece_ratio"] for name in names)],
        ["bytes per token", *(report[name]["all"]["bytes_per_token"] for name in names)],
    ]
    for key, label in (("by_source", ""), ("by_language", "language ")):
        for part in first[key]:
            lines.append([f"  {label}{part}", *(report[name][key][part]["bytes_per_token"] for name in names)])
    return ["", *names], lines


def read_report(folder: Path) -> dict[str, Any]:
    """The report that was written with a tokenizer.

    Raises:
        ManifestError: It is missing or damaged.
    """
    path = folder / REPORT
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read: {error}", hint="run: headwater data tokenizer") from error
