"""The schema of documents: what every row says about a document, kept or rejected."""

from __future__ import annotations

import hashlib

import pyarrow as pa

VERDICT = pa.struct(
    [
        pa.field("operator", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),  # keep | change | reject
        pa.field("reason", pa.string(), nullable=False),  # empty unless rejected or changed
        pa.field("detail", pa.string(), nullable=False),  # the figures that decided, for people
    ]
)
OUTCOMES = ("keep", "change", "reject")
SPLITS = ("train", "validation")

DOCUMENTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("warc_file", pa.string(), nullable=False),  # relative to raw/<source>/, or to the place it names
        pa.field("warc_offset", pa.int64(), nullable=False),  # of the gzip member in bytes, or as the format says
        pa.field("payload_sha256", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),  # ISO 639-1; empty when it does not apply (code)
        pa.field("language_score", pa.float32(), nullable=False),
        pa.field("text_bytes", pa.int64(), nullable=False),  # UTF-8
        pa.field("split", pa.string(), nullable=False),  # train | validation
        pa.field("verdicts", pa.list_(VERDICT), nullable=False),
    ]
)
"""Rows of `documents/part-*.parquet`."""

_REJECTION = pa.schema(
    [
        pa.field("operator", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
REJECTED = pa.unify_schemas([DOCUMENTS, _REJECTION])
"""Rows of `documents/rejected/part-*.parquet`: the document as it was when it was rejected, and why."""

ITEMS = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),  # what decontamination and `trace item` compare
        pa.field("fields_json", pa.string(), nullable=False),  # the whole item
    ]
)
"""Rows of `items/items.parquet`."""

SIDECAR = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),  # index in that split's .idx
        pa.field("token_start", pa.int64(), nullable=False),  # in that split's .bin, in tokens
        pa.field("token_count", pa.int64(), nullable=False),  # with the end-of-text token
        pa.field("text_bytes", pa.int64(), nullable=False),  # UTF-8, without the end-of-text token
    ]
)
"""Rows of `tokens/<source>/documents.parquet`."""


def document_id(source: str, url: str, payload_sha256: str) -> str:
    """A document's id: 32 hexadecimal digits that depend only on its source, URL and bytes."""
    return hashlib.sha256(f"{source}\0{url}\0{payload_sha256}".encode()).hexdigest()[:32]


def split_of(identifier: str, validation_share: float) -> str:
    """The split of a document, from its id alone, so that it never depends on other documents."""
    return "validation" if int(identifier[:8], 16) < validation_share * 2**32 else "train"


ITEM_OVERLAPS_FILE = "item_overlaps.parquet"
ITEM_OVERLAPS = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),  # of the document
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("longest", pa.int64(), nullable=False),  # words of the longest run in common
        pa.field(
            "coverage", pa.float64()
        ),  # share of the item that is there, by weight; null where the rule knows none
    ]
)
"""Rows of `documents/item_overlaps.parquet`: which document, kept or rejected, holds which evaluation item. Ordered by
task, index, source and id. Written where the documents are decontaminated."""


def holds_documents(path: str) -> bool:
    """Whether a file of the documents artifact has documents in its rows."""
    return path.endswith(".parquet") and path != ITEM_OVERLAPS_FILE
