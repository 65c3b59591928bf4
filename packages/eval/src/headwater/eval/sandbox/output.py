"""Reads what a process writes without keeping more than its end."""

import os
import threading


class Tail:
    """The last bytes that come out of a pipe, read by a thread of its own.

    Args:
        source: File descriptor to read until it is closed; closed here at the end.
        limit: Number of bytes to keep.
    """

    def __init__(self, source: int, limit: int) -> None:
        self._source = source
        self._limit = limit
        self._kept = b""
        self.total = 0  # bytes read so far
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while part := os.read(self._source, 65536):
                self.total += len(part)
                self._kept = (self._kept + part)[-self._limit :]
        finally:
            os.close(self._source)

    def bytes(self) -> bytes:
        """What was kept, once the other end is closed."""
        self._thread.join()
        return self._kept

    def text(self) -> str:
        """The same as text; bytes that are not UTF-8 are replaced."""
        return self.bytes().decode("utf-8", "replace")
