"""A sample of documents for training and measuring tokenizers: a stream, in the order of the documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from headwater.core.storage import storage_errors
from headwater.data.arrow import compute, values

SEPARATOR = b"\xff"
"""Between the texts of a sample file; no UTF-8 text holds this byte."""


class Sampled(NamedTuple):
    """One document of a sample."""

    source: str
    language: str
    text: str
    text_bytes: int


def stream(documents: Path, split: str, quotas: Mapping[str, int]) -> Iterator[Sampled]:
    """Documents of a split, in their order, until each source has given its bytes.

    Ids are hashes, so the first documents of a source are an even sample of it. One row group is held at a time, and
    row groups of sources that have given enough are not read.

    Args:
        documents: The documents' folder.
        split: "train" or "validation".
        quotas: Source → UTF-8 bytes; the document that reaches it is the last.
    """
    left = {source: quota for source, quota in quotas.items() if quota > 0}
    with storage_errors("read", documents):
        for path in sorted(documents.glob("part-*.parquet")):
            if not left:
                return
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    yield from _of_group(file, group, split, left)


def _of_group(file: pq.ParquetFile, group: int, split: str, left: dict[str, int]) -> Iterator[Sampled]:
    only = one_source(file, group)
    if not left or (only is not None and only not in left):
        return
    rows = file.read_row_group(group, columns=["source", "language", "split", "text_bytes", "text"])
    rows = rows.filter(compute.equal(rows.column("split"), split))
    columns = (values(rows, name) for name in ("source", "language", "text", "text_bytes"))
    for source, language, text, size in zip(*columns, strict=True):
        if source in left:
            yield Sampled(source, language, text, size)
            left[source] -= size
            if left[source] <= 0:
                del left[source]


def one_source(file: pq.ParquetFile, group: int) -> str | None:
    """The source of all rows of a row group, by the file's statistics; none when they do not say."""
    metadata: Any = file.metadata
    part = metadata.row_group(group).column(metadata.schema.names.index("source"))
    found = part.statistics
    if found is None or not found.has_min_max or found.min != found.max:
        return None
    return found.min


def write_sample(path: Path, documents: Iterable[Sampled]) -> dict[str, int]:
    """Writes texts to a file, so that training can read them more than once, and by other programs.

    Returns:
        Source → UTF-8 bytes.

    Raises:
        StorageError: The disk refused.
    """
    found: dict[str, int] = {}
    with storage_errors("write", path), open(path, "wb") as stream:
        for document in documents:
            stream.write(document.text.encode() + SEPARATOR)
            found[document.source] = found.get(document.source, 0) + document.text_bytes
    return found


def read_sample(path: Path) -> Iterator[str]:
    """The texts of a sample file."""
    rest = b""
    with storage_errors("read", path), open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            *whole, rest = (rest + block).split(SEPARATOR)
            for text in whole:
                yield text.decode()
