"""The rows that flow between operators: the columns of a document plus what only the pipeline needs.

A row is born from a WARC record (payload set, text empty), gets its text from the `extract` operator (payload
dropped) and leaves as a row of `headwater.core.documents.DOCUMENTS` or `REJECTED`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from headwater.core.documents import VERDICT
from headwater.data.arrow import values

ROWS = pa.schema(
    [
        pa.field("row", pa.binary(), nullable=False),  # source/file:offset:index; after the filters, see row_keys
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("warc_file", pa.string(), nullable=False),
        pa.field("warc_offset", pa.int64(), nullable=False),
        pa.field("payload_sha256", pa.string(), nullable=False),
        pa.field("content_type", pa.string(), nullable=False),  # media type, lower case, no parameters
        pa.field("charset", pa.string(), nullable=False),  # as declared by the transport; may be a lie
        pa.field("http_status", pa.int32(), nullable=False),  # 0 for records that are no HTTP response
        pa.field("fault", pa.string(), nullable=False),  # why the record could not be read; empty when it could
        pa.field("payload", pa.binary(), nullable=False),  # empty once the text is extracted
        pa.field("text", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("language_score", pa.float32(), nullable=False),
        pa.field("verdicts", pa.list_(VERDICT), nullable=False),
    ]
)
"""Rows between operators."""

ALIVE = pa.schema([ROWS.field(name) for name in ("row", "source", "url", "content_type", "text")])
"""What global steps see of a row."""

REJECTED_ROWS = pa.schema(
    [
        *ROWS,
        pa.field("operator", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
"""Rows that an operator set aside, with why."""

CODE_TYPES = ("text/x-", "application/x-sh", "application/x-python", "application/javascript", "text/javascript",
              "application/json", "text/css")  # fmt: skip
"""Prefixes of the media types that are source code: kept whole, no natural language."""

CONVERSATION = "application/vnd.headwater.conversation"
"""Media type of texts that are conversations in their canonical form (`conversations.text`)."""

Verdict = tuple[str, str, str, str]  # operator, outcome, reason, detail


def is_code(content_type: str) -> bool:
    """Whether a media type is source code."""
    return content_type.startswith(CODE_TYPES)


def is_whole(content_type: str, exempt_types: tuple[str, ...]) -> bool:
    """Whether nothing may be cut out of a text: those of exempt types, and conversations, which a cut would break."""
    return content_type == CONVERSATION or content_type.startswith(exempt_types)


def texts_of(batch: pa.RecordBatch) -> list[str]:
    """The text column as Python strings."""
    return values(batch, "text")


def with_column(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    """The batch with one column replaced."""
    place = batch.schema.get_field_index(name)
    return batch.set_column(place, batch.schema.field(place), values)


def verdict_lists(histories: Sequence[Iterable[Verdict]]) -> pa.Array:
    """Builds the `verdicts` column: one list of verdicts a row."""
    offsets, flat = [0], []
    for history in histories:
        flat.extend(history)
        offsets.append(len(flat))
    columns = zip(*flat, strict=True) if flat else ((), (), (), ())
    values = pa.StructArray.from_arrays(
        [pa.array(list(column), pa.string()) for column in columns], fields=list(VERDICT)
    )
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, type=pa.list_(VERDICT))


def append_verdicts(batch: pa.RecordBatch, histories: Sequence[Iterable[Verdict]]) -> pa.RecordBatch:
    """The batch with further verdicts after those that each row has."""
    old = [[tuple(v.values()) for v in row] for row in values(batch, "verdicts")]
    joined = [[*before, *after] for before, after in zip(old, histories, strict=True)]
    return with_column(batch, "verdicts", verdict_lists(joined))
