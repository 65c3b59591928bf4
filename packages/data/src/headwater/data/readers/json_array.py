"""JSON files that hold one list of objects (RFC 8259), plain or compressed; also JSON lines, which some files with that
name hold.

The place of a record is its offset in the plain text, in bytes. A list is never held whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

from headwater.data.readers import jsonl
from headwater.data.readers.decompress import compression, plain
from headwater.data.readers.items import MAX_RECORD_BYTES, Item
from headwater.data.readers.options import WHOLE, Options, Piece

_TOKENS = re.compile(rb'["\\{}\[\],]')
_QUOTE, _ESCAPE, _COMMA = b'"', b"\\", b","
_BOM = b"\xef\xbb\xbf"


def cut(stream: IO[bytes], file: str, size: int, partition_bytes: int) -> list[tuple[int, int]]:
    """Whole files: where an object begins in the middle of a list cannot be told."""
    return [(0, WHOLE)]


def read(stream: IO[bytes], piece: Piece, options: Options) -> Iterator[Item]:
    """The records of a file."""
    if not _is_list(stream, piece.file):
        yield from jsonl.read(stream, piece, options)
        return
    for place, element in _elements(plain(stream, compression(piece.file))):
        if isinstance(element, str):
            yield Item(place, fault=element)
        else:
            yield jsonl.item_of_json(place, element, options, "element of the list")


def record(stream: IO[bytes], file: str, place: int, payload_sha256: str, options: Options) -> bytes | None:
    """The object at a place, as it is."""
    if not _is_list(stream, file):
        return jsonl.record(stream, file, place, payload_sha256, options)
    found = (each for each in _elements(plain(stream, compression(file))) if each[0] >= place)
    at, element = next(found, (-1, ""))
    return element if at == place and isinstance(element, bytes) else None


def _is_list(stream: IO[bytes], file: str) -> bool:
    """Whether the file begins with a bracket; the stream is at its beginning then."""
    head = next(iter(plain(stream, compression(file))), b"")
    stream.seek(0)
    return isinstance(head, bytes) and head.removeprefix(_BOM).lstrip()[:1] == b"["


def _elements(chunks: Iterator[bytes | str]) -> Iterator[tuple[int, bytes | str]]:
    """The elements of a list: (offset, bytes, or the reason why what follows cannot be read)."""
    waiting: list[bytes] = []  # the pieces of an element that has not ended
    begun, place, depth = 0, 0, 0
    quoted, skip = False, -1  # inside a string; the offset of what a backslash escapes
    for chunk in chunks:
        if isinstance(chunk, str):
            yield begun, chunk
            return
        start = 0
        for match in _TOKENS.finditer(chunk):
            sign, at = match.group(), match.start()
            if place + at == skip:
                continue
            if sign == _ESCAPE:
                skip = place + at + 1
            elif sign == _QUOTE or quoted:
                quoted = quoted != (sign == _QUOTE)
            elif sign in b"{[":
                depth += 1
                if depth == 1:
                    begun, start, waiting = place + at + 1, at + 1, []
            elif sign in b"}]" or (sign == _COMMA and depth == 1):
                depth -= sign != _COMMA
                if depth == 0 or (sign == _COMMA and depth == 1):
                    yield from _element(begun, [*waiting, chunk[start:at]])
                    begun, start, waiting = place + at + 1, at + 1, []
                if depth == 0:
                    return
        waiting.append(chunk[start:])
        place += len(chunk)
        if place - begun > MAX_RECORD_BYTES:
            yield begun, f"an element of more than {MAX_RECORD_BYTES:,} bytes; what follows is not read"
            return
    yield begun, "the file ends inside its list"


def _element(begun: int, pieces: list[bytes]) -> Iterator[tuple[int, bytes]]:
    whole = b"".join(pieces)
    content = whole.strip()
    if content:  # else the list is empty, or ends with a comma
        yield begun + len(whole) - len(whole.lstrip()), content
