"""`tokens/<source>/documents.parquet`: which tokens are whose, read where it is asked, never whole.

The rows are in the order of ids and of tokens, so the statistics of the file's row groups leave out all but the few
that can hold an answer. A file in another order gives the same answers, more slowly.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet

from headwater.core.buckets import buckets_of
from headwater.core.errors import DataError
from headwater.core.manifest import is_artifact
from headwater.core.tokens import MegatronReader

# pyarrow's own types are incomplete.
_pc: Any = pyarrow.compute
_ds: Any = pyarrow.dataset
_pq: Any = pyarrow.parquet

SIDECAR_FILE = "documents.parquet"


@dataclass(frozen=True)
class Place:
    """A document in the token files: `tokens/<source>/<split>.bin`, sequence number, first token, tokens."""

    source: str
    split: str
    sequence: int
    token_start: int
    token_count: int


@dataclass(frozen=True)
class Held:
    """A document's part of a stretch of tokens: its id and URL, and how many of these tokens are its."""

    id: str
    url: str
    tokens: int


class Sidecar:
    """The documents of one source's tokens.

    Args:
        folder: A token data set, `RUN/tokens/<source>`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._path = self.folder / SIDECAR_FILE

    @cached_property
    def _rows(self) -> Any:
        with self._reading():
            return _ds.dataset(self._path, format="parquet")

    @contextmanager
    def _reading(self) -> Generator[None]:
        try:
            yield
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(
                f"{self._path} cannot be read",
                found="nothing" if not self._path.is_file() else str(error),
                expected="the documents whose tokens these are",
                hint="see what was changed with headwater verify; make the tokens again with headwater data tokenize",
            ) from error

    @cached_property
    def _train(self) -> MegatronReader:
        return MegatronReader(self.folder / "train")

    def place(self, identifier: str) -> Place | None:
        """Where the tokens of a document lie, or none."""
        columns = ["split", "sequence", "token_start", "token_count"]
        rows: list[dict[str, Any]] = self._rows.to_table(columns, filter=_pc.field("id") == identifier).to_pylist()
        return Place(self.folder.name, **rows[0]) if rows else None

    def covering(self, start: int, stop: int) -> list[Held]:
        """The training documents that hold the training tokens `[start, stop)`, in order."""
        first, last = self._train.sequences_of(start, stop)
        wanted = (_pc.field("split") == "train") & (_pc.field("sequence") >= first) & (_pc.field("sequence") < last)
        columns = ["id", "url", "token_start", "token_count"]
        rows: list[dict[str, Any]] = self._rows.to_table(columns, filter=wanted).sort_by("token_start").to_pylist()
        found: list[Held] = []
        for row in rows:
            held = min(stop, row["token_start"] + row["token_count"]) - max(start, row["token_start"])
            if held > 0:
                found.append(Held(row["id"], row["url"], held))
        return found

    def first_held_out(self, tokens: int) -> list[dict[str, Any]]:
        """Held-out documents in the order of their ids, until they have so many tokens together (the last may go over).

        Args:
            tokens: How many are wanted.

        Returns:
            id, token_start, token_count and text_bytes of each.
        """
        with self._reading():
            file = _pq.ParquetFile(self._path)
        columns = ["id", "split", "token_start", "token_count", "text_bytes"]
        rows: list[dict[str, Any]] = []
        groups = _groups_that_may_hold_out(file)
        for number, (_, group) in enumerate(groups):
            table = file.read_row_group(group, columns=columns)
            rows += table.filter(_pc.equal(table.column("split"), "validation")).drop_columns("split").to_pylist()
            after = groups[number + 1][0] if number + 1 < len(groups) else None
            chosen = _until(rows, tokens, after)
            if chosen is not None:
                return chosen
        return []


def _groups_that_may_hold_out(file: Any) -> list[tuple[str, int]]:
    """Row groups that may have rows of the split "validation": the least id of each, and its number; in order."""
    names = file.schema_arrow.names
    found: list[tuple[str, int]] = []
    for group in range(file.num_row_groups):
        part = file.metadata.row_group(group)
        split, ids = (part.column(names.index(name)).statistics for name in ("split", "id"))
        if split is None or not split.has_min_max or split.max >= "validation":
            found.append((str(ids.min) if ids is not None and ids.has_min_max else "", group))
    return sorted(found)


def _until(rows: list[dict[str, Any]], tokens: int, after: str | None) -> list[dict[str, Any]] | None:
    """The first rows that have so many tokens; None while ids that are still to come could be among them."""
    rows.sort(key=lambda row: row["id"])
    total = 0
    for number, row in enumerate(rows):
        if after is not None and row["id"] >= after:
            return None
        total += row["token_count"]
        if total >= tokens:
            return rows[: number + 1]
    return None if after is not None else rows


class Sidecars:
    """The sidecars of several sources, each opened when it is first asked for.

    Args:
        root: The folder that holds one token data set a source.
    """

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root)
        self._open: dict[str, Sidecar | None] = {}
        self._buckets: dict[str, list[Sidecar]] = {}

    def get(self, source: str) -> Sidecar | None:
        """The sidecar of a source, or none when the source has no finished tokens."""
        if source not in self._open:
            folder = self._root / source
            self._open[source] = Sidecar(folder) if is_artifact(folder) else None
        return self._open[source]

    def place(self, source: str, identifier: str) -> Place | None:
        """Where the tokens of a document of a source lie, perhaps in a bucket of it, or none."""
        sidecar = self.get(source)
        if sidecar is not None:
            return sidecar.place(identifier)
        if source not in self._buckets:
            self._buckets[source] = [Sidecar(folder) for folder in buckets_of(self._root, source)]
        return next((place for each in self._buckets[source] if (place := each.place(identifier))), None)
