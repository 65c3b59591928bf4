"""Reads a file of lines that grows, a piece at a time, and notices when it was written anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

PIECE = 4 << 20
"""Bytes read at once, less a cut last line."""
_PRINT = 256


@dataclass(frozen=True)
class Piece:
    """Whole lines of a file.

    Attributes:
        start: Where in the file they begin: where the piece before ended, or before that when the file was written
            anew; what was read from there on holds no more.
        content: The lines; empty when there are no new ones.
        left: Bytes after them.
    """

    start: int
    content: bytes
    left: int


class Tail:
    """The reader. It keeps no file open, so that a file may be replaced or deleted at any time.

    A rewritten file that begins as the old one did (a rollback drops the last lines) is read again only from the last
    place at which both are the same. Places are compared by the 256 bytes before them, which hold a step and, in a log
    of metrics, a time.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._prints: list[tuple[int, bytes]] = [(0, b"")]

    @property
    def place(self) -> int:
        """Where the next piece begins."""
        return self._prints[-1][0]

    def places(self) -> list[int]:
        """To which reading may have to go back, ascending; the last is where it stands."""
        return [place for place, _ in self._prints]

    def read(self) -> Piece:
        """The next lines. A line that is still being written is left for later.

        Raises:
            OSError: The file cannot be read; a missing one is an empty one.
        """
        try:
            stream = open(self._path, "rb")  # noqa: SIM115 (closed below)
        except (FileNotFoundError, NotADirectoryError):
            self._prints = self._prints[:1]
            return Piece(0, b"", 0)
        with stream:
            while (at := self._prints[-1])[0]:
                stream.seek(max(0, at[0] - _PRINT))
                if stream.read(at[0] - stream.tell()) == at[1]:
                    break
                self._prints.pop()
            start = self.place
            stream.seek(start)
            content = stream.read(PIECE)
            content = content[: content.rfind(b"\n") + 1] or self._long_line(stream, content)
            size = stream.seek(0, 2)
            if content:
                end = start + len(content)
                stream.seek(max(0, end - _PRINT))
                self._add(end, stream.read(end - stream.tell()))
            return Piece(start, content, size - self.place)

    def _long_line(self, stream: BinaryIO, content: bytes) -> bytes:
        """A line longer than a piece, or nothing while it is not whole."""
        if len(content) < PIECE:
            return b""
        rest = stream.readline()
        return content + rest if rest.endswith(b"\n") else b""

    def _add(self, place: int, before: bytes) -> None:
        """Keeps a place in every few pieces besides the last one, so that a log of weeks needs few of them."""
        if len(self._prints) > 1 and self._prints[-1][0] - self._prints[-2][0] < PIECE // 2:
            del self._prints[-1]
        self._prints.append((place, before))
