"""What a reader yields, and how it becomes rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headwater.core.documents import document_id
from headwater.data.rows import ROWS, verdict_lists

BATCH_ROWS = 128
BATCH_BYTES = 4_000_000
MAX_RECORD_BYTES = 256 * 1024 * 1024
"""The most bytes that one record may take: a longer line, page or file is set aside, not held in memory."""

METADATA = "metadata"
"""The operator that the first verdict of a row names when its file had columns that the recipe keeps."""


@dataclass(slots=True)
class Item:
    """One record.

    Attributes:
        place: Where it begins: a byte offset or a row number, as its format says.
        payload: Its bytes.
        content_type: Media type of the payload, which decides how text is made of it.
        url: Its URL, or its own id; "" where it has neither.
        charset: The payload's charset, where it is known.
        http_status: Of an HTTP response; else 0.
        metadata: JSON object of what the recipe keeps beside the text; "" for none.
        fault: Why it could not be read; "" when it could.
        repeat: Its number among the records of one place; `batches` counts.
    """

    place: int
    payload: bytes = b""
    content_type: str = ""
    url: str = ""
    charset: str = ""
    http_status: int = 0
    metadata: str = ""
    fault: str = ""
    repeat: int = 0


def batches(source: str, file: str, items: Iterable[Item], metadata: str = "") -> Iterator[pa.RecordBatch]:
    """Batches of `ROWS`.

    Args:
        source: The source's name.
        file: The file's name.
        items: Its records.
        metadata: JSON object of what is known of the file as a whole; "" for nothing.
    """
    waiting: list[Item] = []
    size, last, repeat = 0, -1, 0
    for item in items:
        repeat = repeat + 1 if item.place == last else 0
        last, item.repeat = item.place, repeat
        waiting.append(item)
        size += len(item.payload)
        if len(waiting) == BATCH_ROWS or size >= BATCH_BYTES:
            yield _rows(source, file, waiting, metadata)
            waiting, size = [], 0
    if waiting:
        yield _rows(source, file, waiting, metadata)


def _rows(source: str, file: str, items: list[Item], metadata: str) -> pa.RecordBatch:
    count = len(items)
    digests = ["" if item.fault else hashlib.sha256(item.payload).hexdigest() for item in items]
    ids = [
        document_id(source, item.url or f"{file}:{item.place}", digest)
        for item, digest in zip(items, digests, strict=True)
    ]
    histories = [
        [(METADATA, "keep", "", kept) for kept in (metadata, item.metadata) if kept] if not item.fault else []
        for item in items
    ]
    columns: dict[str, list[Any]] = {
        "row": [f"{source}/{file}:{item.place}:{item.repeat}" for item in items],
        "id": ids,
        "source": [source] * count,
        "url": [item.url for item in items],
        "warc_file": [file] * count,
        "warc_offset": [item.place for item in items],
        "payload_sha256": digests,
        "content_type": [item.content_type for item in items],
        "charset": [item.charset for item in items],
        "http_status": [item.http_status for item in items],
        "fault": [item.fault for item in items],
        "payload": [b"" if item.fault else item.payload for item in items],
        "text": [""] * count,
        "language": [""] * count,
        "language_score": [0.0] * count,
    }
    arrays = [pa.array(columns[field.name], field.type) for field in ROWS if field.name != "verdicts"]
    return pa.RecordBatch.from_arrays([*arrays, verdict_lists(histories)], schema=ROWS)
