"""Reading the files of a run: what is absent is `None`, what is damaged is noted.

A report must come out of a run in any state, so nothing here raises for the content of a file.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class RunFiles:
    """Reads files under a run folder.

    Attributes:
        problems: One sentence for each file that could not be understood, to be shown on the page.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[str] = []

    def text(self, path: Path) -> str | None:
        """The content, or `None` when there is no such file."""
        try:
            raw = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.note(path, error.strerror or str(error))
            return None
        return raw.decode("utf-8", errors="replace")

    def json(self, path: Path) -> Row | None:
        """A JSON object, or `None`."""
        content = self.text(path)
        if content is None:
            return None
        try:
            value = json.loads(content)
        except ValueError as error:
            self.note(path, f"it is not JSON ({error})")
            return None
        if not isinstance(value, dict):
            self.note(path, "it is not a JSON object")
            return None
        return value

    def lines(self, path: Path) -> list[Row]:
        """The objects of a JSON-lines file. A last line that is still being written is left out silently."""
        content = self.text(path)
        rows: list[Row] = []
        pieces = (content or "").splitlines()
        for number, piece in enumerate(pieces, start=1):
            try:
                value = json.loads(piece)
            except ValueError:
                if number < len(pieces):
                    self.note(path, f"line {number} is not JSON")
                continue
            if isinstance(value, dict):
                rows.append(value)
        return rows

    def note(self, path: Path, what: str) -> None:
        """Records a problem with a file."""
        relative = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name
        self.problems.append(f"{relative} could not be read: {what}")


def number(row: Row, *names: str) -> float | None:
    """The first of the named values that is a number; strings such as "nan" and "inf" count as numbers."""
    for name in names:
        value = row.get(name)
        if isinstance(value, bool) or value is None:
            continue
        try:
            return float(value)
        except (TypeError, ValueError):
            continue
    return None


def whole(row: Row, *names: str) -> int | None:
    """As `number`, as an integer; `None` when it is not finite."""
    value = number(row, *names)
    return int(value) if value is not None and math.isfinite(value) else None
