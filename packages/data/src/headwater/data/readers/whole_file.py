"""Formats in which a file is a document: HTML, plain text, source code, PDF, LaTeX. The place is 0.

A text may have a tail, which is a second document: its place is its first byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote

from headwater.data.collect.tree import content_type
from headwater.data.readers.items import MAX_RECORD_BYTES, Item
from headwater.data.readers.options import WHOLE, Options, Piece

_TYPES = {"html": "text/html", "pdf": "application/pdf"}
_LATEX_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".gz")


def cut(stream: IO[bytes], file: str, size: int, partition_bytes: int) -> list[tuple[int, int]]:
    """Never."""
    return [(0, WHOLE)]


def read(stream: IO[bytes], piece: Piece, options: Options) -> Iterator[Item]:
    """The one record, or two when the file has a tail."""
    if piece.bytes > MAX_RECORD_BYTES:
        yield Item(0, fault=f"a file of {piece.bytes:,} bytes, at most {MAX_RECORD_BYTES:,}")
        return
    url = options.base_url + quote(piece.file) if options.base_url else ""
    content = stream.read(MAX_RECORD_BYTES)
    at = _tail(content, options)
    yield Item(0, content[:at], media_type(piece.file, options), url)
    if at < len(content):
        tail_url = f"{options.base_url}{quote(piece.file)}#tail"
        yield Item(at, content[at:], media_type(piece.file, options), tail_url)


def record(stream: IO[bytes], file: str, place: int, payload_sha256: str, options: Options) -> bytes | None:
    """The file, or the part of it that begins at the place."""
    content = stream.read()
    at = _tail(content, options)
    return content[at:] if place else content[:at]


def _tail(content: bytes, options: Options) -> int:
    """Where the tail of a file begins, in bytes; its end when there is none. No character is cut (UTF-8)."""
    at = int(len(content) * (1 - options.tail))
    while 0 < at < len(content) and content[at] & 0xC0 == 0x80:
        at -= 1
    return at


def media_type(file: str, options: Options) -> str:
    """What a file holds: by the source's format, then by its name."""
    if options.format in _TYPES:
        return _TYPES[options.format]
    if options.format == "latex":
        return "application/x-eprint-tar" if file.lower().endswith(_LATEX_ARCHIVES) else "application/x-tex"
    if options.format == "code":
        return content_type(Path(file))
    return options.content_type
