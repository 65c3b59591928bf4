"""Training texts: every document of a folder (or of one file), in an order that depends on their content alone.

Equal documents count once, and the split into training and held-out documents looks at a document's hash, so neither
the names of files nor their number nor a copy changes what a model learns or is measured on.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from headwater.core.console import progress, warn
from headwater.core.errors import DataError
from headwater.core.storage import storage_errors

TEXT_SUFFIXES = (".txt", ".md", ".rst", ".log")
ROW_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")

Row = tuple[str, float]  # text, score


@dataclass(frozen=True)
class Texts:
    """Distinct documents in the order of their hashes.

    Attributes:
        train, held_out: (text, score) of each document; the score is 0 where none was asked for.
        skipped: Rows that were no document: no text, or no number where a score was asked for.
        copies: Documents that were there before.
    """

    train: list[Row]
    held_out: list[Row]
    skipped: int
    copies: int


def read_texts(
    source: Path, *, field: str = "text", score: str | None = None, held_out_ratio: float = 0.1, least: int = 1
) -> Texts:
    """Reads the documents of a folder or file.

    Args:
        source: A folder, read with its sub-folders, or one file: a text file is one document, a JSONL or parquet file
            holds one a row.
        field: The column (or key) with the text.
        score: The column (or key) with a number for each document; none: there is none.
        held_out_ratio: Share of documents held out, by their hash.
        least: Fewest distinct documents.

    Raises:
        DataError: No such folder, a file that cannot be read, or fewer than `least` documents.
    """
    files = _files(source)
    found: dict[bytes, Row] = {}
    skipped = copies = 0
    with progress(sum(path.stat().st_size for path in files), f"reading {source.name}", unit="bytes") as shown:
        for path in files:
            for text, value in _rows(path, field, score):
                if not isinstance(text, str) or not text.strip() or not _is_score(value, score):
                    skipped += 1
                    continue
                key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
                copies += key in found
                found.setdefault(key, (text.encode("utf-8", "replace").decode(), float(value)))
            shown.advance(path.stat().st_size)
    if skipped:
        warn(f"{source}: {skipped:,} rows have no {field}" + (f" or no number in {score}" if score else ""))
    if len(found) < least:
        raise DataError(f"{source} holds too few documents", found=f"{len(found):,} distinct documents",
                        expected=f"at least {least:,} in files ending in "
                        f"{' '.join((*TEXT_SUFFIXES, *ROW_SUFFIXES))} (rows: a column {field})")  # fmt: skip
    limit = int(held_out_ratio * 2**32)
    train: list[Row] = []
    held_out: list[Row] = []
    for key in sorted(found):  # the last bytes split, the first ones sort: two independent numbers
        (held_out if int.from_bytes(key[-4:], "big") < limit else train).append(found[key])
    return Texts(train, held_out, skipped, copies)


def _is_score(value: Any, wanted: str | None) -> bool:
    return wanted is None or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9)


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(f"there is no folder or file {source}", expected="a folder of text, JSONL or parquet files")
    return sorted(p for p in source.rglob("*") if p.is_file() and p.name.endswith((*TEXT_SUFFIXES, *ROW_SUFFIXES)))


def _rows(path: Path, field: str, score: str | None) -> Iterator[tuple[Any, Any]]:
    name = path.name
    read: Callable[..., Iterator[tuple[Any, Any]]] = _text
    if name.endswith(".parquet"):
        read = _parquet
    elif name.endswith((".jsonl", ".jsonl.gz")):
        read = _jsonl
    with storage_errors("read", path):
        yield from read(path, field, score)


def _text(path: Path, field: str, score: str | None) -> Iterator[tuple[Any, Any]]:
    yield path.read_text(encoding="utf-8", errors="replace"), 0.0 if score is None else None


def _jsonl(path: Path, field: str, score: str | None) -> Iterator[tuple[Any, Any]]:
    opener: Any = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number}, is not JSON: {error}",
                                expected="one JSON object a line") from error  # fmt: skip
            known: dict[str, Any] = row if isinstance(row, dict) else {}
            yield known.get(field), 0.0 if score is None else known.get(score)


def _parquet(path: Path, field: str, score: str | None) -> Iterator[tuple[Any, Any]]:
    columns = [field, score] if score else [field]
    try:
        file = pq.ParquetFile(path)
        missing = [name for name in columns if name not in file.schema_arrow.names]
        if missing:
            raise DataError(f"{path} has no column {missing[0]}", found=", ".join(file.schema_arrow.names))
        for batch in file.iter_batches(columns=columns):
            texts = batch.column(field).to_pylist()
            yield from zip(texts, batch.column(score).to_pylist() if score else [0.0] * len(texts), strict=True)
    except ValueError as error:  # pyarrow's ArrowInvalid
        raise DataError(f"{path} is no parquet file: {error}") from error
