"""The state of a crawl, on disk: which URLs are known, in which order, and what became of each.

SQLite, one transaction a page. The transaction holds the size of the archive after the page, so that a crawl
that was killed goes on from exactly the last page that was wholly written.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.core.errors import StorageError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS urls (
    id INTEGER PRIMARY KEY, url TEXT NOT NULL, key TEXT NOT NULL UNIQUE, depth INTEGER NOT NULL,
    outcome TEXT, status INTEGER, detail TEXT, file TEXT, offset INTEGER, bytes INTEGER
);
CREATE INDEX IF NOT EXISTS waiting ON urls (depth, id) WHERE outcome IS NULL;
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A URL to visit: its number in order of discovery, and its distance in links from the seeds."""

    id: int
    url: str
    depth: int


class Frontier:
    """URLs in breadth-first order: by depth, then by discovery.

    Args:
        path: the database file; it is created, or continued.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            # A killed process loses nothing either way; a power cut may cost the last pages, never consistency.
            self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_SCHEMA}")
        except sqlite3.Error as error:
            raise StorageError(f"cannot open the crawl state {path}: {error}") from error

    def close(self) -> None:
        """Closes the database."""
        self._db.close()

    def add(self, urls: Iterable[tuple[str, str]], depth: int) -> int:
        """Adds (URL, key) pairs that are not known yet and returns how many were new."""
        rows = [(url, key, depth) for url, key in urls]
        before = self._db.total_changes
        self._db.executemany("INSERT OR IGNORE INTO urls (url, key, depth) VALUES (?, ?, ?)", rows)
        return self._db.total_changes - before

    def next(self) -> Waiting | None:
        """The URL to visit next, or None when all were visited."""
        row = self._db.execute(
            "SELECT id, url, depth FROM urls WHERE outcome IS NULL ORDER BY depth, id LIMIT 1"
        ).fetchone()
        return Waiting(*row) if row else None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A context in which everything or nothing is kept.

        Raises:
            StorageError: the disk refused.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            hint = "free some space and run the same command again: the pages so far are kept"
            raise StorageError(f"cannot keep the crawl state {self.path}: {error}", hint=hint) from error

    def finish(
        self, id: int, outcome: str, *, status: int | None = None, detail: str = "",
        file: str | None = None, offset: int | None = None, stop: int | None = None,
    ) -> None:  # fmt: skip
        """Records what became of a URL; `stop` is the archive's size after its record."""
        size = stop - offset if stop is not None and offset is not None else None
        self._db.execute(
            "UPDATE urls SET outcome = ?, status = ?, detail = ?, file = ?, offset = ?, bytes = ? WHERE id = ?",
            (outcome, status, detail, file, offset, size, id),
        )
        if file is not None:
            self.put("archive", [file, stop])

    def put(self, name: str, value: Any) -> None:
        """Keeps a small JSON value."""
        self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, json.dumps(value)))

    def get(self, name: str) -> Any:
        """A value kept with `put`, or None."""
        row = self._db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def counts(self) -> dict[str, int]:
        """How many URLs ended in each outcome ("waiting" for those not visited)."""
        query = "SELECT coalesce(outcome, 'waiting'), count(*) FROM urls GROUP BY 1 ORDER BY 1"
        return dict(self._db.execute(query).fetchall())

    def log(self) -> Iterator[dict[str, Any]]:
        """One entry a URL, in order of discovery."""
        query = "SELECT url, depth, coalesce(outcome, 'waiting'), status, detail, file, offset FROM urls ORDER BY id"
        for url, depth, outcome, status, detail, file, offset in self._db.execute(query):
            entry = {"url": url, "depth": depth, "outcome": outcome, "status": status, "detail": detail or None}
            entry |= {"warc_file": file, "warc_offset": offset}
            yield {name: value for name, value in entry.items() if value is not None}
