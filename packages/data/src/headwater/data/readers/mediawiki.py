"""MediaWiki exports (`<mediawiki><page>…`): XML, plain or compressed; the dumps of Wikipedia are multistream bzip2.

A record is a `<page>` element. Its place is its offset in the file, in bytes: in a plain file its own, in a .bz2 file
that of the bzip2 stream that it begins in (pages of one stream are told apart by their number in it), and in a .gz or
.zst file its offset in the plain text. Plain files are cut anywhere, .bz2 files between streams.

Pages are found by their tags, which cannot be in a page's text (there, "<" is written "&lt;"): so one damaged page
costs no other.
"""

from __future__ import annotations

import bz2
import hashlib
import re
from collections.abc import Iterator
from typing import IO
from urllib.parse import quote

from headwater.data.operators.extractors.by_type import MEDIAWIKI, Unusable
from headwater.data.operators.extractors.mediawiki_text import page_of
from headwater.data.readers.decompress import compression, plain
from headwater.data.readers.items import MAX_RECORD_BYTES, Item
from headwater.data.readers.options import WHOLE, Options, Piece

_CHUNK = 1 << 20
_OPEN, _CLOSE = b"<page>", b"</page>"
_STREAM = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")  # a stream's head, and that of its first block or its end
_BASE = re.compile(rb"<base>([^<]{1,500})</base>")
_HEAD_BYTES = 1 << 16

# (place of the first byte, whether places grow with the bytes, the bytes or what is wrong)
Span = tuple[int, bool, bytes | str]


def cut(stream: IO[bytes], file: str, size: int, partition_bytes: int) -> list[tuple[int, int]]:
    """Ranges of bytes: anywhere in a plain file, at the beginning of streams in a .bz2 file."""
    kind = compression(file)
    if kind == ".bz2":
        starts: list[int] = []
        for start in _stream_starts(stream):
            if not starts or start - starts[-1] >= partition_bytes:
                starts.append(start)
        starts[:1] = [0]
    elif kind:
        starts = [0]
    else:
        starts = list(range(0, max(size, 1), partition_bytes))
    return list(zip(starts, [*starts[1:], WHOLE], strict=True))


def read(stream: IO[bytes], piece: Piece, options: Options) -> Iterator[Item]:
    """The pages that begin in a piece."""
    base, head = options.base_url, _head(stream, piece.file)
    if head is not None and b"<mediawiki" not in head and piece.start == 0:
        yield Item(0, fault="no MediaWiki export: there is no <mediawiki> at its beginning")
    if not base and head and (found := _BASE.search(head)):
        base = found[1].decode("utf-8", "replace").rpartition("/")[0] + "/"
    for place, page in pages(stream, piece):
        yield _item(place, page, base)


def record(stream: IO[bytes], file: str, place: int, payload_sha256: str, options: Options) -> bytes | None:
    """The `<page>` element at a place, with that digest."""
    start = place if compression(file) in ("", ".bz2") else 0
    for found, page in pages(stream, Piece(file, 0, start, WHOLE)):
        if found > place:
            break
        if found == place and isinstance(page, bytes) and payload_sha256 in ("", hashlib.sha256(page).hexdigest()):
            return page
    return None


def _item(place: int, page: bytes | str, base: str) -> Item:
    if isinstance(page, str):
        return Item(place, fault=page)
    try:
        title, *_ = page_of(page)
    except Unusable as error:
        return Item(place, fault=str(error))
    url = base + quote(title.replace(" ", "_"), safe="/:()',!*@;") if base and title else title
    return Item(place, page, MEDIAWIKI, url, "utf-8")


def pages(stream: IO[bytes], piece: Piece) -> Iterator[tuple[int, bytes | str]]:
    """The `<page>` elements that begin in a piece: (place, the bytes, or what is wrong)."""
    kind = compression(piece.file)
    if kind == ".bz2":
        spans = _bz2_spans(stream, piece.start)
    elif kind:
        stream.seek(0)
        spans = _growing(plain(stream, kind), 0)
    else:
        stream.seek(piece.start)
        spans = _growing(plain(stream, ""), piece.start)
    yield from _scan(spans, piece.stop if kind in ("", ".bz2") else WHOLE)


def _growing(chunks: Iterator[bytes | str], start: int) -> Iterator[Span]:
    for chunk in chunks:
        yield start, True, chunk
        start += len(chunk)


def _scan(spans: Iterator[Span], stop: int) -> Iterator[tuple[int, bytes | str]]:
    """Finds the elements; those that begin at or after `stop` are left."""
    held = b""
    marks: list[tuple[int, int, bool]] = []  # (offset in `held`, place there, whether places grow)
    for place, grows, chunk in spans:
        if isinstance(chunk, str):
            start = held.find(_OPEN)
            if start >= 0:
                yield _place(marks, start), "a page that does not end: what follows cannot be read"
            if place >= stop:
                return
            yield place, chunk
            held, marks = b"", []
            continue
        marks.append((len(held), place, grows))
        held += chunk
        position = 0
        while (start := held.find(_OPEN, position)) >= 0:
            here = _place(marks, start)
            if here >= stop:
                return
            end, following = held.find(_CLOSE, start), held.find(_OPEN, start + len(_OPEN))
            if 0 <= following < end or (end < 0 and following >= 0):
                yield here, "a page that does not end before the next one begins"
                position = following
            elif end >= 0:
                position = end + len(_CLOSE)
                yield here, held[start:position]
            elif len(held) - start > MAX_RECORD_BYTES:
                yield here, f"a page of more than {MAX_RECORD_BYTES:,} bytes"
                position = len(held) - len(_OPEN) + 1
            else:
                position = start
                break
        else:
            position = max(position, len(held) - len(_OPEN) + 1)  # the beginning of a tag may be the end of the chunk
            if _place(marks, position) >= stop:
                return
        held, marks = held[position:], _moved(marks, position)
    start = held.find(_OPEN)
    if start >= 0 and _place(marks, start) < stop:
        yield _place(marks, start), "a page that does not end: the file ends inside it"


def _place(marks: list[tuple[int, int, bool]], offset: int) -> int:
    """The place of a byte of what is held."""
    at, place, grows = next((mark for mark in reversed(marks) if mark[0] <= offset), (0, 0, False))
    return place + offset - at if grows else place


def _moved(marks: list[tuple[int, int, bool]], position: int) -> list[tuple[int, int, bool]]:
    """The marks after `position` bytes were let go."""
    left = [(at - position, place, grows) for at, place, grows in marks]
    before = [mark for mark in left if mark[0] <= 0]
    return [*before[-1:], *(mark for mark in left if mark[0] > 0)]


def _bz2_spans(stream: IO[bytes], start: int) -> Iterator[Span]:
    """The plain bytes of each stream from the one at `start` on, all with the place of their stream."""
    stream.seek(start)
    place, data = start, stream.read(_CHUNK)
    taken = len(data)  # bytes read since `start`
    while data:
        inflater = bz2.BZ2Decompressor()
        try:
            while not inflater.eof:
                out = inflater.decompress(data, _CHUNK)
                data = b""
                if out:
                    yield place, False, out
                if inflater.needs_input and not inflater.eof:
                    data = stream.read(_CHUNK)
                    taken += len(data)
                    if not data:
                        yield place, False, "bzip2: the file ends inside a stream"
                        return
        except (OSError, ValueError) as error:
            yield place, False, f"bzip2: {str(error)[:120]}"
            stream.seek(place + 1)  # the next stream may be sound
            found = next((each for each in _stream_starts(stream) if each > place), None)
            if found is None:
                return
            stream.seek(found)
            place, data = found, stream.read(_CHUNK)
            taken = found - start + len(data)
            continue
        data = inflater.unused_data
        place = start + taken - len(data)
        if not data:
            data = stream.read(_CHUNK)
            taken += len(data)


def _stream_starts(stream: IO[bytes]) -> Iterator[int]:
    """Where bzip2 streams begin, from where the file stands; they begin at whole bytes, unlike blocks."""
    offset, held = stream.tell(), b""
    while chunk := stream.read(_CHUNK):
        held += chunk
        for found in _STREAM.finditer(held):
            yield offset + found.start()
        keep = min(len(held), 9)
        offset += len(held) - keep
        held = held[len(held) - keep :]


def _head(stream: IO[bytes], file: str) -> bytes | None:
    """The first plain bytes of a file, which name the wiki; None when they cannot be read."""
    stream.seek(0)
    head = b""
    for chunk in plain(stream, compression(file)):
        if isinstance(chunk, str):
            return head or None
        head += chunk
        if len(head) >= _HEAD_BYTES or b"</siteinfo>" in head or _OPEN in head:
            break
    return head[:_HEAD_BYTES]
