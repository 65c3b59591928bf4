"""Write WARC 1.1 files: one gzip member a record, rotated by size, byte-identical when a date is given.

warcio lays out the records. Each record is compressed on its own and appended in one write, so that a killed
process leaves at most one torn member at the end of the last file, which `resume_at` cuts off.

Specification: ISO 28500:2017 (WARC/1.1).
"""

from __future__ import annotations

import os
import uuid
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from headwater.core.storage import storage_errors

DEFAULT_MAX_BYTES = 256 * 1024 * 1024
_LEVEL = 6
"""Level 9 of zlib takes about twice the time for 1% fewer bytes on HTML."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record was written: file name, and the first and the after-last byte of its gzip member."""

    file: str
    start: int
    stop: int


class VerbatimHeaders(StatusAndHeaders):
    """HTTP headers exactly as the server sent them (warcio would percent-encode what is not ASCII)."""

    def __init__(self, block: bytes) -> None:
        super().__init__("", [])
        self.headers_buff = block

    def __bool__(self) -> bool:
        return True

    def compute_headers_buffer(self, header_filter: object = None) -> None:
        """Keeps the bytes that were given."""


class WarcArchive:
    """Appends records to `<folder>/<name>-00000.warc.gz`, `-00001`, …

    Args:
        folder: where the files go; it must exist.
        name: stem of the file names.
        info: fields of the warcinfo record that opens each file (software and format are added).
        max_bytes: a file that has reached this size is closed and the next one begun.
        date: the WARC-Date of every record. With it, equal input gives equal bytes; without, the clock is used.
        resume_at: (file name, size) of the last file known to be whole: bytes after it are cut off.

    Raises:
        StorageError: the disk refused a write.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        info: Mapping[str, str],
        max_bytes: int = DEFAULT_MAX_BYTES,
        date: datetime | None = None,
        resume_at: tuple[str, int] | None = None,
    ) -> None:
        self.folder = folder
        self.name = name
        self.max_bytes = max_bytes
        self.date = date
        self._info = dict(info)
        self._number = 0
        self._file: int | None = None
        self._size = 0
        self._resume(resume_at)

    def _resume(self, resume_at: tuple[str, int] | None) -> None:
        for path in self.folder.glob(f"{self.name}-*.warc.gz"):
            if resume_at is None or path.name > resume_at[0]:
                path.unlink()
        if resume_at is None:
            return
        file, size = resume_at
        self._number = int(file.removesuffix(".warc.gz").rpartition("-")[2])
        with storage_errors("write", self.folder / file):
            self._file = os.open(self.folder / file, os.O_WRONLY)
            os.ftruncate(self._file, size)
            os.lseek(self._file, size, os.SEEK_SET)
        self._size = size

    def __enter__(self) -> WarcArchive:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is None:
            self.close()
        elif self._file is not None:
            # What failed must not be hidden behind a second failure of the same disk.
            with suppress(OSError):
                os.close(self._file)
            self._file = None

    def files(self) -> list[Path]:
        """Every file written so far, in order."""
        return sorted(self.folder.glob(f"{self.name}-*.warc.gz"))

    def response(
        self, url: str, head: bytes, body: bytes, *, ip: str | None = None, fetched: datetime | None = None
    ) -> Place:
        """Append an HTTP response.

        Args:
            url: what was asked for.
            head: status line and headers, ending with an empty line, as sent (see `http_head`).
            body: as sent, but for the transfer encoding.
            ip: address of the server; left out when a date was given, as it is not reproducible.
            fetched: when the response came.
        """
        extra = {"WARC-IP-Address": ip} if ip and self.date is None else {}
        return self._append(url, "response", body, http=VerbatimHeaders(head), extra=extra, when=fetched)

    def resource(self, url: str, content_type: str, payload: bytes, *, modified: datetime | None = None) -> Place:
        """Append a file as a `resource` record."""
        return self._append(url, "resource", payload, content_type=content_type, when=modified)

    def close(self) -> None:
        """Flush the open file to the disk and close it."""
        if self._file is not None:
            with storage_errors("write", self.folder):
                os.fsync(self._file)
                os.close(self._file)
            self._file = None

    def _append(
        self,
        url: str,
        kind: str,
        payload: bytes,
        *,
        content_type: str = "",
        http: VerbatimHeaders | None = None,
        extra: Mapping[str, str] | None = None,
        when: datetime | None = None,
    ) -> Place:
        if self._file is not None and self._size >= self.max_bytes:
            self.close()
            self._number += 1
        file = f"{self.name}-{self._number:05d}.warc.gz"
        if self._file is None:
            with storage_errors("write", self.folder / file):
                self._file = os.open(self.folder / file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            self._size = 0
            fields = {"software": "Headwater", "format": "WARC File Format 1.1", **self._info}
            text = "".join(f"{key}: {value}\r\n" for key, value in fields.items()).encode()
            opening = self._member("", "warcinfo", text, "application/warc-fields", None, {"WARC-Filename": file}, when)
            self._write(file, opening)
        start = self._size
        self._write(file, self._member(url, kind, payload, content_type, http, dict(extra or {}), when))
        return Place(file, start, self._size)

    def _member(
        self,
        url: str,
        kind: str,
        payload: bytes,
        content_type: str,
        http: VerbatimHeaders | None,
        extra: dict[str, str],
        when: datetime | None,
    ) -> bytes:
        date = warc_date(self.date or when or datetime.now(UTC))
        head = http.headers_buff if http is not None else b""
        identity = sha256(b"\0".join([kind.encode(), url.encode(), date.encode(), head, payload])).hexdigest()
        headers = {
            "WARC-Type": kind,
            "WARC-Record-ID": f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, identity)}>",
            "WARC-Date": date,
            **extra,
        }
        plain = BytesIO()
        writer = WARCWriter(plain, gzip=False, warc_version="1.1")
        record = writer.create_warc_record(
            url, kind, payload=BytesIO(payload), length=len(payload), warc_content_type=content_type,
            warc_headers_dict=headers, http_headers=http,
        )  # fmt: skip
        writer.write_record(record)
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, wbits=31)
        return packer.compress(plain.getvalue()) + packer.flush()

    def _write(self, file: str, member: bytes) -> None:
        assert self._file is not None
        with storage_errors("write", self.folder / file):
            view = memoryview(member)
            while view:
                view = view[os.write(self._file, view) :]
        self._size += len(member)


def warc_date(when: datetime) -> str:
    """A WARC-Date (W3C ISO 8601, UTC, whole seconds)."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def http_head(
    version: str, status: int, reason: str, headers: Iterable[tuple[bytes, bytes]], body_bytes: int,
    date: datetime | None = None,
) -> bytes:  # fmt: skip
    """The status line and headers of a response as they are stored.

    They are kept as sent, in order and in case, with two exceptions. The transfer encoding is already undone when
    a client library hands over the body, so that `Transfer-Encoding` becomes `X-Crawl-Transfer-Encoding` and the
    true Content-Length is added, the way Common Crawl does it. With `date`, the HTTP Date header is replaced.
    """
    lines = [f"{version} {status} {reason}".rstrip().encode("latin-1", "replace")]
    chunked = False
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"transfer-encoding":
            name, chunked = b"X-Crawl-Transfer-Encoding", True
        elif lowered == b"date" and date is not None:
            value = date.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").encode()
        lines.append(name + b": " + value)
    if chunked:
        lines.append(b"Content-Length: %d" % body_bytes)
    return b"\r\n".join(lines) + b"\r\n\r\n"
