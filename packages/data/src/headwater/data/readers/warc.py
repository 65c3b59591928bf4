"""WARC and WET files in a store: each is read whole, through a temporary file that has no name.

Files on a disk need none of this: `warc_parts` maps them into memory and cuts them at records.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from headwater.core.storage import storage_errors
from headwater.data.collect.warc_reader import Record, read_records
from headwater.data.readers.items import Item
from headwater.data.readers.options import WHOLE, Options, Piece

_CHUNK = 1 << 22


def cut(stream: IO[bytes], file: str, size: int, partition_bytes: int) -> list[tuple[int, int]]:
    """Whole files: where records begin is only told by reading from the beginning."""
    return [(0, WHOLE)]


def read(stream: IO[bytes], piece: Piece, options: Options) -> Iterator[Item]:
    """The records; their place is the offset of their gzip member."""
    with storage_errors("write", tempfile.gettempdir()), tempfile.NamedTemporaryFile(suffix=".warc.gz") as copy:
        shutil.copyfileobj(stream, copy, _CHUNK)
        copy.flush()
        for found in read_records(Path(copy.name)):
            if isinstance(found, Record):
                yield Item(found.offset, found.payload, found.content_type, found.url, found.charset or "",
                           found.http_status or 0)  # fmt: skip
            else:
                yield Item(found.offset, fault=found.reason)


def record(stream: IO[bytes], file: str, place: int, payload_sha256: str, options: Options) -> bytes | None:
    """The payload of the record at an offset, after transfer and content decoding."""
    for item in read(stream, Piece(file, 0, 0, WHOLE), options):
        if item.place == place and not item.fault:
            return item.payload
    return None
