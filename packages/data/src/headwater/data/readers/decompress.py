"""Plain bytes of compressed files, with what is wrong with them told as a value and never as an exception."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

_CHUNK = 1 << 20
_OUT = 1 << 22  # what one call may inflate to: a bomb is passed on piece by piece
_MAX_WINDOW_LOG = 31  # as `zstd --long=31`, which large public dumps use


class _Gzip:
    """zlib's object with the interface of `bz2.BZ2Decompressor`."""

    def __init__(self) -> None:
        self._object = zlib.decompressobj(wbits=31)
        self._full = False  # zlib may hold back plain bytes although it has taken all input

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._object.decompress(self._object.unconsumed_tail + data, max_length)
        self._full = len(out) == max_length
        return out

    @property
    def eof(self) -> bool:
        return self._object.eof

    @property
    def needs_input(self) -> bool:
        return not self._object.unconsumed_tail and not self._full

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data


def _zstd() -> Any:
    from backports.zstd import DecompressionParameter, ZstdDecompressor

    return ZstdDecompressor(options={DecompressionParameter.window_log_max: _MAX_WINDOW_LOG})


_KINDS: dict[str, tuple[str, Callable[[], Any]]] = {
    ".gz": ("gzip", _Gzip),
    ".bz2": ("bzip2", bz2.BZ2Decompressor),
    ".zst": ("zstd", _zstd),
}


def compression(file: str) -> str:
    """How a file is compressed, by its name: ".gz", ".bz2", ".zst", or "" for a plain one."""
    return next((suffix for suffix in _KINDS if file.lower().endswith(suffix)), "")


def plain(stream: IO[bytes], kind: str) -> Iterator[bytes | str]:
    """The plain bytes in chunks; when they end too early, the reason as a last `str`.

    Args:
        stream: The file, at its beginning.
        kind: As `compression`. Files of several members, streams or frames are read to the end.
    """
    if not kind:
        while chunk := stream.read(_CHUNK):
            yield chunk
        return
    name, make = _KINDS[kind]
    data, member = stream.read(_CHUNK), 0
    if not data:
        yield f"{name}: an empty file"
        return
    while data:
        inflater = make()
        try:
            while True:
                out = inflater.decompress(data, _OUT)
                data = b""
                if out:
                    yield out
                if inflater.eof:
                    break
                if inflater.needs_input:
                    data = stream.read(_CHUNK)
                    if not data:
                        yield f"{name}: the file ends inside it"
                        return
        except Exception as error:  # every library has its own
            yield f"{name}: {str(error)[:120]}" if not member else f"{name}: after member {member}: {str(error)[:120]}"
            return
        member += 1
        data = inflater.unused_data or stream.read(_CHUNK)
        if kind == ".gz" and not data.strip(b"\0"):  # padding, as tape archives have (RFC 1952 says nothing of it)
            data = b""
