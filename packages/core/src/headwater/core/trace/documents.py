"""Finds documents of a run, kept or rejected, by id, by the beginning of an id, or by URL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.core.documents import holds_documents
from headwater.core.errors import DataError
from headwater.core.layout import RunLayout
from headwater.core.manifest import read_manifest
from headwater.core.parquet import read_row, read_strings, rows_that_contain, rows_that_start_with

_LISTED = 10


@dataclass(frozen=True)
class Verdict:
    """What one operator said about a document: outcome keep, change or reject; reason; the figures that decided."""

    operator: str
    outcome: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Rejection:
    """Which operator rejected a document, and why."""

    operator: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Document:
    """One row of `documents/`, kept or rejected (then `rejection` says by what)."""

    id: str
    source: str
    url: str
    warc_file: str
    warc_offset: int
    payload_sha256: str
    text: str
    language: str
    language_score: float
    text_bytes: int
    split: str
    verdicts: tuple[Verdict, ...]
    rejection: Rejection | None

    @property
    def kept(self) -> bool:
        """Whether the document is part of the corpus."""
        return self.rejection is None


def document_files(run: RunLayout) -> Iterator[tuple[Path, bool]]:
    """The Parquet files of the run's documents, each with whether its rows were kept.

    Raises:
        ManifestError: The run has no finished documents.
    """
    manifest = read_manifest(run.documents)
    for entry in manifest.files:
        if holds_documents(entry.path):
            yield run.documents / entry.path, not entry.path.startswith("rejected/")


def find_documents(run: RunLayout, query: str, *, by_url: bool = False) -> list[Document]:
    """The rows of the one document that `query` names; more than one row only if its very copy was collected twice.

    Args:
        run: The run folder.
        query: An id, or the beginning of one; with `by_url` a URL, or a part of one.
        by_url: Whether `query` is a URL. Another version of the page at the same URL is another document.

    Returns:
        Kept rows first.

    Raises:
        DataError: No document, or several, fit the query.
    """
    wanted = query if by_url else query.lower()
    hits: list[_Hit] = []
    for path, kept in document_files(run):
        rows = rows_that_contain(path, "url", wanted) if by_url else rows_that_start_with(path, "id", wanted)
        if rows:
            ids, urls = read_strings(path, "id"), read_strings(path, "url")
            hits += [_Hit(path, row, kept, ids[row], urls[row]) for row in rows]
    hits = [hit for hit in hits if wanted == (hit.url if by_url else hit.id)] or hits
    _refuse_unless_one(run, query, by_url, hits)
    return [_document(read_row(hit.path, hit.row)) for hit in sorted(hits, key=lambda hit: not hit.kept)]


@dataclass(frozen=True)
class _Hit:
    path: Path
    row: int
    kept: bool
    id: str
    url: str


def _refuse_unless_one(run: RunLayout, query: str, by_url: bool, hits: list[_Hit]) -> None:
    if not hits:
        raise DataError(
            f"no document of {run.root} has the {'URL' if by_url else 'id'} {query}",
            hint="check the spelling, or give a shorter part" if by_url else "to search by URL, add --url",
        )
    if len({hit.id for hit in hits}) > 1:
        listed = [f"{hit.id}  {'kept' if hit.kept else 'rejected':<8}  {hit.url}" for hit in hits[:_LISTED]]
        more = f"\n            … and {len(hits) - _LISTED:,} more" if len(hits) > _LISTED else ""
        raise DataError(f"{len(hits):,} documents fit {query}", found="\n            ".join(listed) + more,
                        hint="give one of these ids")  # fmt: skip


def _document(row: dict[str, Any]) -> Document:
    rejection = Rejection(row["operator"], row["reason"], row["detail"]) if "operator" in row else None
    fields = {name: row[name] for name in Document.__dataclass_fields__ if name not in ("verdicts", "rejection")}
    return Document(**fields, verdicts=tuple(Verdict(**verdict) for verdict in row["verdicts"]), rejection=rejection)
