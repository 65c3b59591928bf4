"""Cut a WARC file into records, and find the way on after damage.

A gzip member is inflated whole and checked (RFC 1952 CRC) before anything in it is believed; after a damaged one,
the search goes on for the next member that starts with a WARC record.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from zlib_ng import zlib_ng  # zlib's interface and checks, at twice its speed

from headwater.core.errors import DataError

MAX_RECORD_BYTES = 256 * 1024 * 1024
"""The most bytes that one record, or one decoded payload, may take: a decompression bomb is set aside, not inflated."""

_CORRUPT = cast("type[Exception]", zlib_ng.error)  # its stubs name an exception where there is a class of exceptions
GZIP_MAGIC = b"\x1f\x8b\x08"
_FIRST_CHUNK_BYTES = 16 * 1024  # most members end inside it; what follows the end is copied by zlib, so: not more
_CHUNK_BYTES = 256 * 1024
_LENGTH_NAME = b"\ncontent-length:"
# No more digits than 64 bits hold: Python refuses to convert thousands of them with an exception of its own.
_LENGTH = re.compile(rb"[ \t]*(\d{1,18})[ \t]*\r?\n")
_RECORD_START = re.compile(rb"(?<=\n)WARC/\d\.\d\r?\n")
_MAX_HEADER_BYTES = 64 * 1024


class InMemory(bytes):
    """Bytes where a mapped file is expected (an empty file cannot be mapped)."""

    def close(self) -> None:
        """Nothing to close."""


Buffer = mmap.mmap | InMemory


def open_archive(path: Path) -> Buffer:
    """Map a file into memory.

    Raises:
        DataError: it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                return InMemory()
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(f"cannot read the WARC file {path}", found=error.strerror) from error


def inflate(buffer: Buffer, start: int) -> tuple[bytes | str, int]:
    """Inflate the gzip member at `start`: (its bytes, the offset after it), or (the reason, the offset reached)."""
    if buffer[start : start + 3] != GZIP_MAGIC:
        return "bytes that are no gzip member", start
    inflater = zlib_ng.decompressobj(wbits=31)
    pieces: list[bytes] = []
    total, position, size = 0, start, _FIRST_CHUNK_BYTES
    with memoryview(buffer) as view:
        while not inflater.eof:
            chunk = view[position : position + size]
            if not chunk:
                return "truncated gzip member: the file ends inside it", position
            position, size = position + len(chunk), _CHUNK_BYTES
            try:
                pieces.append(inflater.decompress(chunk, MAX_RECORD_BYTES + 1 - total))
            except _CORRUPT as error:
                return f"corrupt gzip member: {error}", position
            finally:
                chunk.release()
            total += len(pieces[-1])
            if total > MAX_RECORD_BYTES:
                reason = f"gzip member of more than {MAX_RECORD_BYTES:,} bytes"
                return f"{reason} (`warcio recompress` writes one member a record)", position
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), position - len(inflater.unused_data)


def next_member(buffer: Buffer, start: int) -> int:
    """Offset of the next gzip member that holds a WARC record, or the size of the file."""
    position = buffer.find(GZIP_MAGIC, start)
    while position >= 0:
        try:
            if zlib_ng.decompressobj(wbits=31).decompress(buffer[position : position + 4096], 5) == b"WARC/":
                return position
        except _CORRUPT:
            pass
        position = buffer.find(GZIP_MAGIC, position + 1)
    return len(buffer)


def frames(buffer: mmap.mmap | bytes, start: int) -> Iterator[tuple[int, bytes | str]]:
    """Cut a plain buffer into records: (offset, the record's bytes, or the reason why it is not one).

    A record is trusted only when its Content-Length leads to the end of the buffer or to the next record: a length
    that lies would otherwise swallow the records after it.
    """
    position = start
    size = len(buffer)
    while position < size:
        reason, end = _frame(buffer, position)
        if reason is None:
            yield position, buffer[position:end]
        else:
            yield position, reason
            following = _RECORD_START.search(buffer, min(position + 6, size))
            end = following.start() if following else size
        position = end
        while buffer[position : position + 1] in (b"\r", b"\n"):
            position += 1


def _frame(buffer: mmap.mmap | bytes, position: int) -> tuple[str | None, int]:
    if buffer[position : position + 5] != b"WARC/":
        return "bytes that are no WARC record", position
    body = header_end(buffer, position, position + _MAX_HEADER_BYTES)
    if body < 0:
        return "truncated WARC header", position
    head = buffer[position:body].lower()
    name = head.find(_LENGTH_NAME)
    found = _LENGTH.match(head, name + len(_LENGTH_NAME)) if name >= 0 else None
    if found is None:
        return "WARC record without a Content-Length that is a number of at most 18 digits", position
    length = int(found[1])
    end = body + length
    if end > len(buffer):
        held = len(buffer) - body
        return f"truncated record, or a wrong Content-Length: it says {length:,} bytes, {held:,} are here", end
    tail = bytes(buffer[end : end + 9])
    if tail.strip(b"\r\n") and tail.lstrip(b"\r\n")[:5] != b"WARC/":
        return f"wrong Content-Length: no record ends after its {length:,} bytes", end
    return None, end


def header_end(buffer: mmap.mmap | bytes, start: int, stop: int) -> int:
    """The offset after the first empty line in `buffer[start:stop]`, its lines ended by CRLF or LF; -1 without one."""
    crlf = buffer.find(b"\n\r\n", start, stop)
    lf = buffer.find(b"\n\n", start, stop if crlf < 0 else crlf)
    return lf + 2 if lf >= 0 else crlf + 3 if crlf >= 0 else -1
