"""The bytes of one record as they were collected, by its place.

A record of a WARC file is found by its offset, with the standard library only. Other formats are read by the package
that knows them, which registers a function under the entry point group `headwater.records`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO, Any

from headwater.core.errors import DataError
from headwater.core.external import is_external, read_place
from headwater.core.manifest import read_manifest
from headwater.core.objects import open_object

RECORDS_GROUP = "headwater.records"
_CHUNK = 1 << 16
_MAX_HEAD = 1 << 16

RecordBytes = Callable[[IO[bytes], str, int, str, dict[str, Any]], bytes | None]
"""(open file, its name, place, SHA-256 of the payload or "", configuration of the raw artifact) → the record."""


def read_collected(folder: Path, file: str, place: int, payload_sha256: str) -> bytes:
    """The bytes of a record of a source, wherever its files are.

    Args:
        folder: RUN/raw/<source>.
        file: As in the document's row.
        place: As in the document's row.
        payload_sha256: As in the document's row; "" for a record that could not be read.

    Raises:
        DataError: There is no record at that place, or no package that reads its format.
        StorageError: The file cannot be read.
        ManifestError: The source is no artifact.
    """
    if not is_external(folder):
        return read_record(folder / file, place)
    config, where = read_manifest(folder).config, read_place(folder)
    uri = where.uri(file)
    with open_object(uri, anonymous=where.anonymous) as stream:
        if config["source"]["format"] in ("warc", "wet"):
            return _record(stream, uri, place)
        points = list(entry_points(group=RECORDS_GROUP))
        if not points:
            raise DataError(
                f"no package that reads the records of {uri} is installed", hint="pip install headwater-data"
            )
        read: RecordBytes = points[0].load()
        found = read(stream, file, place, payload_sha256, config)
    if found is None:
        raise DataError(f"there is no record at {place:,} of {uri}", hint="run: headwater verify")
    return found


def read_record(path: Path, offset: int) -> bytes:
    """The block of the record whose gzip member starts at `offset`: for a response, the HTTP head and the body.

    Raises:
        DataError: The file is missing, or there is no record at that place.
    """
    if not path.is_file():
        raise DataError(f"WARC file {path} is missing", hint="run: headwater data collect")
    with open(path, "rb") as stream:
        return _record(stream, str(path), offset)


def _record(stream: IO[bytes], path: str, offset: int) -> bytes:
    stream.seek(offset)
    if stream.read(5) == b"WARC/":  # a plain file
        stream.seek(offset)
        head = stream.read(_MAX_HEAD).partition(b"\r\n\r\n")[0]
        stream.seek(offset)
        return _block(stream.read(len(head) + 4 + _length(head, path, offset)), path, offset)
    stream.seek(offset)
    whole = bytearray()
    member = zlib.decompressobj(wbits=31)
    try:
        while not member.eof and (chunk := stream.read(_CHUNK)):
            whole += member.decompress(chunk)
    except zlib.error as error:
        raise DataError(f"there is no gzip member at byte {offset:,} of {path}: {error}",
                        hint="run: headwater verify") from error  # fmt: skip
    return _block(bytes(whole), path, offset)


def _block(whole: bytes, path: str, offset: int) -> bytes:
    head, blank, rest = whole.partition(b"\r\n\r\n")
    if not head.startswith(b"WARC/") or not blank:
        raise DataError(f"there is no WARC record at byte {offset:,} of {path}", found=whole[:20],
                        expected=b"WARC/1.1", hint="run: headwater verify")  # fmt: skip
    return rest[: _length(head, path, offset)]


def _length(head: bytes, path: str, offset: int) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    raise DataError(f"the WARC record at byte {offset:,} of {path} has no Content-Length")
