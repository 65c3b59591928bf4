"""Where a document's tokens lie, and which documents a stretch of tokens belongs to: the sidecar, read both ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact
from headwater.core.parquet import read_rows

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Place:
    """A document in the token files: `tokens/<source>/<split>.bin`, sequence number, first token, tokens."""

    source: str
    split: str
    sequence: int
    token_start: int
    token_count: int


class Sidecar:
    """`tokens/<source>/documents.parquet`, in memory.

    Args:
        run: The run folder.
        source: The source's name.
    """

    def __init__(self, run: RunLayout, source: str) -> None:
        self.source = source
        rows = read_rows(run.tokens(source) / "documents.parquet")
        self._rows = {row["id"]: row for row in rows}
        self._train = sorted((row for row in rows if row["split"] == "train"), key=lambda row: row["token_start"])
        self._starts: I64 = np.array([row["token_start"] for row in self._train], dtype=np.int64)

    def place(self, identifier: str) -> Place | None:
        """Where the tokens of a document lie, or none."""
        row = self._rows.get(identifier)
        if row is None:
            return None
        return Place(self.source, row["split"], row["sequence"], row["token_start"], row["token_count"])

    def covering(self, start: int, stop: int) -> list[tuple[str, str, int]]:
        """The training documents that hold tokens `[start, stop)`: id, URL, and how many of these tokens."""
        first = max(0, int(np.searchsorted(self._starts, start, side="right")) - 1)
        last = int(np.searchsorted(self._starts, stop, side="left"))
        found: list[tuple[str, str, int]] = []
        for row in self._train[first:last]:
            held = min(stop, row["token_start"] + row["token_count"]) - max(start, row["token_start"])
            if held > 0:
                found.append((row["id"], row["url"], held))
        return found


class Sidecars:
    """The sidecars of a run, each read once, when it is first asked for."""

    def __init__(self, run: RunLayout) -> None:
        self._run = run
        self._open: dict[str, Sidecar | None] = {}

    def get(self, source: str) -> Sidecar | None:
        """The sidecar of a source, or none when the source has no finished tokens."""
        if source not in self._open:
            self._open[source] = Sidecar(self._run, source) if is_artifact(self._run.tokens(source)) else None
        return self._open[source]

    def place(self, source: str, identifier: str) -> Place | None:
        """Where the tokens of a document lie, or none."""
        sidecar = self.get(source)
        return sidecar.place(identifier) if sidecar else None
