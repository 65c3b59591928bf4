"""JSON lines (jsonlines.org): one object a line, plain or compressed (.gz, .bz2, .zst).

The place of a record is the offset of its line in the plain text, in bytes. Plain files are cut into ranges of bytes:
a line belongs to the range that it begins in. Compressed files are read whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO

from headwater.data.readers.columns import item_of
from headwater.data.readers.decompress import compression, plain
from headwater.data.readers.items import MAX_RECORD_BYTES, Item
from headwater.data.readers.options import WHOLE, Options, Piece

_CHUNK = 1 << 20
_BOM = b"\xef\xbb\xbf"


def cut(stream: IO[bytes], file: str, size: int, partition_bytes: int) -> list[tuple[int, int]]:
    """Ranges of bytes."""
    if compression(file):
        return [(0, WHOLE)]
    starts = range(0, max(size, 1), partition_bytes)
    return [(start, start + partition_bytes if start + partition_bytes < size else WHOLE) for start in starts]


def read(stream: IO[bytes], piece: Piece, options: Options) -> Iterator[Item]:
    """The records of the lines that begin in a piece; empty lines are none."""
    for place, line in lines(stream, piece):
        if isinstance(line, str):
            yield Item(place, fault=line)
        elif content := line.removeprefix(_BOM).strip() if place == 0 else line.strip():
            yield item_of_json(place, content, options)


def record(stream: IO[bytes], file: str, place: int, payload_sha256: str, options: Options) -> bytes | None:
    """The line at a place, as it is."""
    if not compression(file):
        stream.seek(place)
        found = next(_split(_chunks(stream), place, WHOLE), None)
    else:
        pieces = lines(stream, Piece(file, 0, 0, WHOLE))
        found = next((each for each in pieces if each[0] >= place), None)
    return found[1] if found and found[0] == place and isinstance(found[1], bytes) else None


def lines(stream: IO[bytes], piece: Piece) -> Iterator[tuple[int, bytes | str]]:
    """The lines that begin in a piece, without their ends: (offset, line, or the reason why it cannot be read)."""
    kind = compression(piece.file)
    if kind:
        yield from _split(plain(stream, kind), 0, WHOLE)
        return
    start = piece.start
    if start:  # the line that the byte before the piece is part of began in an earlier one
        stream.seek(start - 1)
        start -= 1
        while chunk := stream.read(_CHUNK):
            end = chunk.find(b"\n")
            if end >= 0:
                start += end + 1
                break
            start += len(chunk)
        else:
            return
        if start >= piece.stop:
            return
        stream.seek(start)
    yield from _split(_chunks(stream), start, piece.stop)


def _chunks(stream: IO[bytes]) -> Iterator[bytes | str]:
    while chunk := stream.read(_CHUNK):
        yield chunk


def _split(chunks: Iterator[bytes | str], start: int, stop: int) -> Iterator[tuple[int, bytes | str]]:
    """Cuts chunks into lines; those that begin at or after `stop` are left."""
    waiting: list[bytes] = []  # the pieces of a line that has not ended
    place, size = start, 0
    for chunk in chunks:
        if isinstance(chunk, str):
            yield place, chunk
            return
        position = 0
        while (end := chunk.find(b"\n", position)) >= 0:
            size += end - position
            if size <= MAX_RECORD_BYTES:
                yield place, b"".join([*waiting, chunk[position:end]])
            else:
                yield place, f"a line of {size:,} bytes, at most {MAX_RECORD_BYTES:,}"
            place, position = place + size + 1, end + 1
            waiting, size = [], 0
            if place >= stop:
                return
        size += len(chunk) - position
        if size <= MAX_RECORD_BYTES:
            waiting.append(chunk[position:])
        else:
            waiting = []
    if size > MAX_RECORD_BYTES:
        yield place, f"a line of {size:,} bytes, at most {MAX_RECORD_BYTES:,}"
    elif size:
        yield place, b"".join(waiting)


def item_of_json(place: int, line: bytes, options: Options, what: str = "line") -> Item:
    """The item of an object in JSON; `what` names it in faults."""
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Item(place, fault=f"the {what} is not UTF-8: {error.reason} at its byte {error.start:,}")
    except json.JSONDecodeError as error:
        return Item(
            place, fault=f"the {what} is not JSON: {error.msg.removesuffix(' at')} at its character {error.pos:,}"
        )
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        return Item(place, fault=f"the {what} is not JSON that can be read: {str(error)[:120]}")
    if not isinstance(value, dict):
        return Item(place, fault=f"the {what} is a JSON {type(value).__name__}, not an object")
    return item_of(place, value, options, line)
