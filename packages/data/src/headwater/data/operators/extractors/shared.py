"""Memory that two processes share, as an unnamed file that both map: a page goes over, its text comes back."""

from __future__ import annotations

import mmap
import os
import tempfile

_LEAST_BYTES = 1024 * 1024


def new_shared_file() -> int:
    """A file descriptor of an empty file without a name: in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("headwater-page")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Shared:
    """The file behind a descriptor, mapped; it grows with what is written, and each side sees that when it reads.

    Args:
        number: The file descriptor, which this object owns.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._map: mmap.mmap | None = None

    def write(self, data: bytes) -> None:
        """Puts bytes at the beginning."""
        self._mapped(len(data))[: len(data)] = data

    def read(self, size: int) -> str:
        """The first `size` bytes, which are UTF-8."""
        with memoryview(self._mapped(size)) as whole, whole[:size] as part:
            return str(part, "utf-8", "replace")

    def read_bytes(self, size: int) -> bytes:
        """The first `size` bytes as they are."""
        return self._mapped(size)[:size]

    def close(self) -> None:
        """Gives the memory and the file back."""
        if self._map is not None:
            self._map.close()
        os.close(self.number)

    def _mapped(self, size: int) -> mmap.mmap:
        if self._map is None or len(self._map) < size:
            if self._map is not None:
                self._map.close()
            room = max(1 << (size - 1).bit_length() if size else 0, _LEAST_BYTES)
            if os.fstat(self.number).st_size < room:
                os.ftruncate(self.number, room)
            self._map = mmap.mmap(self.number, room)
        return self._map
