"""The bytes of one WARC record, by its offset. Standard library only: one record needs no WARC reader."""

from __future__ import annotations

import zlib
from pathlib import Path

from headwater.core.errors import DataError

_CHUNK = 1 << 16


def read_record(path: Path, offset: int) -> bytes:
    """The block of the record whose gzip member starts at `offset`: for a response, the HTTP head and the body.

    Raises:
        DataError: The file is missing, or there is no record at that place.
    """
    if not path.is_file():
        raise DataError(f"WARC file {path} is missing", hint="run: headwater data collect")
    whole = bytearray()
    with open(path, "rb") as stream:
        stream.seek(offset)
        member = zlib.decompressobj(wbits=31)
        try:
            while not member.eof and (chunk := stream.read(_CHUNK)):
                whole += member.decompress(chunk)
        except zlib.error as error:
            raise DataError(f"there is no gzip member at byte {offset:,} of {path}: {error}",
                            hint="run: headwater verify") from error  # fmt: skip
    head, blank, rest = bytes(whole).partition(b"\r\n\r\n")
    if not head.startswith(b"WARC/") or not blank:
        raise DataError(f"there is no WARC record at byte {offset:,} of {path}", found=bytes(whole[:20]),
                        expected=b"WARC/1.1", hint="run: headwater verify")  # fmt: skip
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return rest[: int(value)]
    raise DataError(f"the WARC record at byte {offset:,} of {path} has no Content-Length")
