"""Read WARC files without ever stopping at a damaged one.

The gzip members are framed here, one by one, because a fast iterator over the whole stream either stops at the
first corrupt member or hands over a truncated record as if it were whole. fastwarc then parses each record and
decodes its HTTP payload. What cannot be read becomes a `BadRecord` with its file, offset and reason, and reading
goes on at the next member that starts with a WARC record.

Specification: ISO 28500:2017 (WARC/1.1), of which Annex A recommends one gzip member (RFC 1952) a record.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.core.errors import DataError
from headwater.data.collect import warc_framing
from headwater.data.collect.warc_framing import GZIP_MAGIC, Buffer, InMemory, frames, inflate, next_member, open_archive

if TYPE_CHECKING:
    from fastwarc import WarcRecord
    from fastwarc.warc import HeaderMap

PAYLOAD_TYPES = frozenset({"response", "resource", "conversion"})
_CHARSET = re.compile(r"""charset\s*=\s*["']?([^\s"';,]+)""", re.IGNORECASE)
_CHUNK_BYTES = 1024 * 1024
_MAX_WASTED_RATIO = 4  # of the file: members nested in damaged ones would otherwise take time quadratic in its size


@dataclass(frozen=True, slots=True)
class Record:
    """One document-bearing WARC record.

    Attributes:
        url: WARC-Target-URI.
        warc_type: "response", "resource" or "conversion".
        content_type: media type of the payload in lower case, without parameters; "" when the record names none.
        payload: the body, after transfer and content decoding.
        warc_file: posix path of the file, relative to the `root` given to the reader (its name without one).
        offset: byte offset of the record's gzip member in that file (of the record itself in a plain file).
        payload_sha256: hex digest of `payload`.
        http_status: status of an HTTP response; None for other records.
        charset: the charset parameter of the Content-Type, lower case, as declared (it may be a lie).
        date: WARC-Date as written.
        truncated: WARC-Truncated (e.g. "length") when the collector cut the payload, else None.
    """

    url: str
    warc_type: str
    content_type: str
    payload: bytes
    warc_file: str
    offset: int
    payload_sha256: str
    http_status: int | None
    charset: str | None
    date: str
    truncated: str | None


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A place in a WARC file that could not be read. `offset` is in bytes from the start of `file`."""

    file: str
    offset: int
    reason: str


def read_records(
    path: Path | str, *, root: Path | str | None = None, types: Collection[str] = PAYLOAD_TYPES
) -> Iterator[Record | BadRecord]:
    """Yield every record of a WARC file (plain or gzip) in file order.

    Args:
        path: the WARC file.
        root: folder to which `Record.warc_file` is made relative.
        types: WARC-Type values to yield; the others are passed over.

    Raises:
        DataError: the file cannot be opened. Damage inside it is never raised: it is yielded as `BadRecord`.
    """
    path = Path(path)
    name = path.relative_to(root).as_posix() if root is not None else path.name
    with closing(open_archive(path)) as buffer:
        yield from _read(buffer, name, types)


def read_bytes(data: bytes, name: str, *, types: Collection[str] = PAYLOAD_TYPES) -> Iterator[Record | BadRecord]:
    """As `read_records`, of a WARC file's bytes in memory; `name` stands for the file."""
    yield from _read(InMemory(data), name, types)


def read_record_at(path: Path | str, offset: int, *, payload_sha256: str | None = None) -> Record:
    """Read the one record that starts at `offset` without reading what precedes it.

    Args:
        path: the WARC file.
        offset: as in `Record.offset`.
        payload_sha256: picks the record when one gzip member holds several.

    Raises:
        DataError: the file cannot be opened, or no readable record (of that digest) starts there.
    """
    path = Path(path)
    with closing(open_archive(path)) as buffer:
        if not 0 <= offset < len(buffer):
            raise DataError(f"no WARC record at offset {offset:,} of {path}", found=f"a file of {len(buffer):,} bytes")
        for record in _read(buffer, path.name, PAYLOAD_TYPES, start=offset):
            if record.offset != offset:
                break
            if isinstance(record, BadRecord):
                raise DataError(f"no readable WARC record at offset {offset:,} of {path}", found=record.reason)
            if payload_sha256 is None or record.payload_sha256 == payload_sha256:
                return record
    raise DataError(
        f"no WARC record at offset {offset:,} of {path}",
        expected=f"a record whose payload has sha256 {payload_sha256}" if payload_sha256 else None,
        hint="the file was changed after the documents were made: collect again, then run the later stages",
    )


def read_records_at(
    path: Path | str, offsets: Iterable[int], *, root: Path | str | None = None
) -> Iterator[Record | BadRecord]:
    """Yield the first record at each of these offsets; where none begins or it is damaged, a `BadRecord`.

    Args:
        path: the WARC file; it is opened once.
        offsets: as in `Record.offset`.
        root: folder to which `Record.warc_file` is made relative.

    Raises:
        DataError: the file cannot be opened.
    """
    path = Path(path)
    name = path.relative_to(root).as_posix() if root is not None else path.name
    with closing(open_archive(path)) as buffer:
        for offset in offsets:
            first = next(_read(buffer, name, PAYLOAD_TYPES, start=offset), None) if offset < len(buffer) else None
            at_place = isinstance(first, BadRecord | Record) and first.offset == offset
            yield first if first is not None and at_place else BadRecord(name, offset, "no record begins here")


def _read(buffer: Buffer, name: str, types: Collection[str], start: int = 0) -> Iterator[Record | BadRecord]:
    size = len(buffer)
    if size == 0:
        yield BadRecord(name, 0, "empty file")
        return
    if buffer[:2] != GZIP_MAGIC[:2] and buffer[:5] == b"WARC/":
        for offset, block in frames(buffer, start):
            item = block if isinstance(block, str) else _parse(block, name, offset, types)
            if item is not None:
                yield BadRecord(name, offset, item) if isinstance(item, str) else item
        return
    position, wasted = start, 0
    while position < size:
        data, end = inflate(buffer, position)
        if isinstance(data, str):
            yield BadRecord(name, position, data)
            wasted += end - position
            if wasted > _MAX_WASTED_RATIO * size + _CHUNK_BYTES:
                yield BadRecord(name, position + 1, "too many false starts of gzip members: the rest is not read")
                return
            position = next_member(buffer, position + 1)
            continue
        for _, block in frames(data, 0):
            item = block if isinstance(block, str) else _parse(block, name, position, types)
            if item is not None:
                yield BadRecord(name, position, item) if isinstance(item, str) else item
        position = end


def _parse(block: bytes, name: str, offset: int, types: Collection[str]) -> Record | str | None:
    """Parse one whole record: the Record, the reason why it is bad, or None when its type is not wanted."""
    from fastwarc import WarcRecord

    try:
        record = WarcRecord.from_bytes(block)
    except OSError as error:
        return f"not a WARC record: {error}"
    headers = _fields(record.headers)
    warc_type = headers.get("warc-type", "").lower()
    if warc_type not in types:
        return None
    url = headers.get("warc-target-uri", "").strip("<>")
    if not url:
        return f"{warc_type} record without WARC-Target-URI"
    content_type = headers.get("content-type", "")
    status: int | None = None
    if content_type.lower().startswith("application/http"):
        http = _http_payload(record, block)
        if isinstance(http, str):
            return http
        content_type, status, payload = http
    else:
        payload = record.reader.read()
    media_type, charset = _media_type(content_type)
    return Record(
        url=url,
        warc_type=warc_type,
        content_type=media_type,
        payload=payload,
        warc_file=name,
        offset=offset,
        payload_sha256=hashlib.sha256(payload).hexdigest(),
        http_status=status,
        charset=charset,
        date=headers.get("warc-date", ""),
        truncated=headers.get("warc-truncated"),
    )


def _fields(headers: HeaderMap | None) -> dict[str, str]:
    """Header fields by their names in lower case; of several the first. Looking each up in fastwarc takes longer."""
    fields: dict[str, str] = {}
    for name, value in headers.astuples() if headers is not None else ():
        fields.setdefault(name.lower(), value)
    return fields


def _http_payload(record: WarcRecord, block: bytes) -> tuple[str, int | None, bytes] | str:
    """Decode the HTTP message of a record: (Content-Type, status, body), or the reason why it cannot be."""
    try:
        record.parse_http(auto_decode="all")
        headers = _fields(record.http_headers)
        payload = _body(record, headers)
    except OSError as error:
        # Many archives (Common Crawl among them) store the decoded body under the original headers, and some
        # servers lie about the encoding: the body is then taken as it is, unless it plainly is compressed.
        record = type(record).from_bytes(block)
        try:
            record.parse_http(auto_decode="none")
            headers = _fields(record.http_headers)
            raw = record.reader.read()
        except OSError as head_error:
            return f"HTTP head cannot be read: {str(head_error)[:120]}"
        decoded = _raw_deflate(headers.get("content-encoding"), raw)
        if decoded is None and (b"\0" in raw[:1024] or raw[:2] == GZIP_MAGIC[:2]):
            return f"HTTP body cannot be decoded: {str(error)[:120]}"
        payload = raw if decoded is None else decoded
    if len(payload) > warc_framing.MAX_RECORD_BYTES:
        return f"HTTP body of more than {warc_framing.MAX_RECORD_BYTES:,} bytes after decoding"
    http_headers = record.http_headers
    status = http_headers.status_code if http_headers is not None else None
    if status is None:
        return "application/http record without an HTTP status line"
    return headers.get("content-type", ""), status, payload


def _body(record: WarcRecord, headers: Mapping[str, str]) -> bytes:
    """The decoded body, read no further than one byte past the limit."""
    if not (headers.get("content-encoding") or headers.get("transfer-encoding")):
        return record.reader.read()  # no larger than the record, whose size is known
    pieces: list[bytes] = []
    left = warc_framing.MAX_RECORD_BYTES + 1
    while left > 0 and (piece := record.reader.read(min(left, _CHUNK_BYTES))):  # a read takes the memory it may need
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _raw_deflate(encoding: str | None, raw: bytes) -> bytes | None:
    """Inflate a "deflate" body without the zlib wrapper of RFC 9110 §8.4.1.2, as some servers send it."""
    if (encoding or "").strip().lower() != "deflate":
        return None
    try:
        return zlib.decompressobj(wbits=-15).decompress(raw, warc_framing.MAX_RECORD_BYTES + 1)
    except zlib.error:
        return None


@lru_cache(maxsize=256)
def _media_type(content_type: str) -> tuple[str, str | None]:
    media_type, _, parameters = content_type.partition(";")
    charset = _CHARSET.search(parameters) if parameters else None
    return media_type.strip().lower(), charset[1].lower() if charset else None
