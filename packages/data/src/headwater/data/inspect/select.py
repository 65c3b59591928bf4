"""Samples of documents, from Parquet files of any size.

Documents lie in the order of their ids, which are hashes: so a row group is an even sample of its source by itself,
and a few of them, drawn by the seed, stand for millions. A row group whose statistics rule it out is not read; of the
others only the columns that the choice needs; texts only for the documents that were chosen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.layout import RunLayout
from headwater.core.storage import storage_errors
from headwater.core.trace.documents import document_files
from headwater.data.arrow import compute, values
from headwater.data.operators.host_boilerplate import host_names

Outcome = Literal["kept", "rejected", "changed"]

LEAST_GROUPS = 32
"""Row groups that are looked at before a sample is drawn, so that it is not of one corner of the ids."""
_COLUMNS = ("id", "source", "url", "language", "text", "text_bytes", "verdicts", "warc_file", "warc_offset")
_WHY = ("operator", "reason", "detail")


@dataclass(frozen=True)
class Wanted:
    """Which documents to sample.

    Attributes:
        outcome: Kept: in the corpus; rejected: set aside; changed: an operator changed the text.
        operator: That set it aside, changed it, or (kept) saw it and let it pass as it was.
        reason: Of the rejection or the change.
        source, host, language: Of the document.
    """

    outcome: Outcome
    operator: str | None = None
    reason: str | None = None
    source: str | None = None
    host: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class Found:
    """A document, and the verdict that the sample is about.

    Attributes:
        id, source, url, language, text, text_bytes: Of the document; the text is as it was in the end.
        kept: Whether it is in the corpus.
        verdicts: All verdicts: operator, outcome, reason, detail.
        operator, reason, detail: The verdict; empty for a document that was kept without more being asked.
        warc_file, warc_offset: The file that it is from, and its place there.
    """

    id: str
    source: str
    url: str
    language: str
    text: str
    text_bytes: int
    kept: bool
    verdicts: tuple[dict[str, str], ...]
    operator: str = ""
    reason: str = ""
    detail: str = ""
    warc_file: str = ""
    warc_offset: int = 0

    @property
    def place(self) -> str:
        """Where people find it: its URL or, when it has none, its file and its place there."""
        return self.url or f"{self.warc_file} at {self.warc_offset:,}"


@dataclass(frozen=True)
class _Group:
    """One row group."""

    file: _File
    number: int

    @property
    def name(self) -> str:
        return f"{self.file.name}:{self.number}"

    def read(self, columns: Sequence[str]) -> pa.Table:
        with storage_errors("read", self.file.path):
            return self.file.open.read_row_group(self.number, columns=list(columns), use_threads=False)

    def may_have(self, column: str, value: str) -> bool:
        """False when the statistics say that no row has this value."""
        bounds = self.file.bounds(self.number).get(column)
        return bounds is None or bounds[0] <= value <= bounds[1]


@dataclass(frozen=True)
class _File:
    path: str
    name: str
    kept: bool
    _bounds: dict[int, dict[str, tuple[str, str]]] = field(default_factory=dict, hash=False, compare=False)

    @cached_property
    def open(self) -> Any:
        with storage_errors("read", self.path):
            return pq.ParquetFile(self.path)

    def groups(self) -> Iterator[_Group]:
        return (_Group(self, number) for number in range(self.open.metadata.num_row_groups))

    def bounds(self, number: int) -> dict[str, tuple[str, str]]:
        """Column → least and largest value, of the columns that samples are chosen by."""
        if number not in self._bounds:
            row_group = self.open.metadata.row_group(number)
            columns = (row_group.column(place) for place in range(row_group.num_columns))
            self._bounds[number] = {
                column.path_in_schema: (column.statistics.min, column.statistics.max)
                for column in columns
                if column.path_in_schema in ("id", "source", *_WHY[:2])
                and column.is_stats_set
                and column.statistics.has_min_max
            }
        return self._bounds[number]


class Documents:
    """The documents of a run.

    Args:
        layout: The run folder.

    Raises:
        ManifestError: The run has no finished documents.
    """

    def __init__(self, layout: RunLayout) -> None:
        files = document_files(layout)
        self.files = [_File(str(path), path.relative_to(layout.documents).as_posix(), kept) for path, kept in files]

    def sample(self, wanted: Wanted, count: int, seed: int = 0) -> list[Found]:
        """At most `count` documents, ordered by a hash of seed and id: the same ones every time.

        All row groups are looked at if they are few. Of many, some are, in an order that the seed gives, until there
        is plenty to choose from.
        """
        files = [file for file in self.files if wanted.outcome == "changed" or file.kept == (wanted.outcome == "kept")]
        groups = [group for file in files for group in file.groups() if _may_match(group, wanted)]
        groups.sort(key=lambda group: _order(seed, group.name))
        hits: list[tuple[bytes, _Group, int]] = []
        for looked_at, group in enumerate(groups):
            if looked_at >= LEAST_GROUPS and len(hits) >= 4 * count:
                break
            hits += _hits(group, wanted, seed)
        hits.sort(key=lambda hit: hit[0])
        return [_found(group, row, wanted) for _, group, row in hits[:count]]

    def by_id(self, ids: Iterable[str]) -> dict[str, Found]:
        """The documents with these ids, as far as the run has them, kept ones before rejected ones."""
        found: dict[str, Found] = {}
        missing = set(ids)
        for file in sorted(self.files, key=lambda file: not file.kept):
            for group in file.groups() if missing else ():
                here = [one for one in missing if group.may_have("id", one)]
                if not here:
                    continue
                column = group.read(["id"]).column("id")
                for row in np.flatnonzero(_mask(compute.is_in(column, value_set=pa.array(here, pa.string())))).tolist():
                    document = _found(group, row, None)
                    found.setdefault(document.id, document)
                missing -= found.keys()
        return found

    def scan(self, kept: bool, columns: Sequence[str], sources: Sequence[str] = ()) -> Iterator[pa.Table]:
        """Some columns of all kept, or all rejected, documents (of some sources), a row group at a time."""
        for file in self.files:
            for group in file.groups() if file.kept == kept else ():
                if not sources:
                    yield group.read(columns)
                elif any(group.may_have("source", source) for source in sources):
                    rows = group.read(columns)
                    yield rows.filter(compute.is_in(rows.column("source"), pa.array(sources, pa.string())))


def facts(detail: str) -> dict[str, Any]:
    """A verdict's detail, if it is a JSON object."""
    try:
        found = json.loads(detail) if detail[:1] == "{" else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _order(seed: int, name: str) -> bytes:
    return blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()


def _may_match(group: _Group, wanted: Wanted) -> bool:
    asked = {"source": wanted.source}
    if wanted.outcome == "rejected":
        asked |= {"operator": wanted.operator, "reason": wanted.reason}
    return all(value is None or group.may_have(column, value) for column, value in asked.items())


def _hits(group: _Group, wanted: Wanted, seed: int) -> list[tuple[bytes, _Group, int]]:
    by_verdict = wanted.outcome == "changed" or (wanted.outcome == "kept" and wanted.operator is not None)
    tests: list[tuple[str, Callable[[Any], Any]]] = []
    for column in ("source", "language"):
        value = getattr(wanted, column)
        if value is not None:
            tests.append((column, lambda cells, value=value: compute.equal(cells, value)))
    if wanted.host is not None:
        host = wanted.host.lower()
        tests.append(("url", lambda urls: compute.fill_null(compute.equal(host_names(urls), host), False)))
    if wanted.outcome == "rejected":
        for column in ("operator", "reason"):
            value = getattr(wanted, column)
            if value is not None:
                tests.append((column, lambda cells, value=value: compute.equal(cells, value)))
    names = ["id", *(column for column, _ in tests), *(["verdicts"] if by_verdict else [])]
    rows = group.read(list(dict.fromkeys(names)))
    mask = np.ones(rows.num_rows, np.bool_)
    for column, test in tests:
        mask &= _mask(test(rows.column(column)))
    if by_verdict and mask.any():
        mask &= _by_verdict(rows.column("verdicts"), wanted)
    ids = values(rows, "id")
    return [(_order(seed, ids[row]), group, row) for row in np.flatnonzero(mask).tolist()]


def _by_verdict(column: pa.ChunkedArray, wanted: Wanted) -> npt.NDArray[np.bool_]:
    """True for rows with a verdict of the kind."""
    lists: Any = column.combine_chunks()
    each = lists.flatten()
    fits = compute.equal(each.field("outcome"), "change" if wanted.outcome == "changed" else "keep")
    for name in ("operator", "reason"):
        value = getattr(wanted, name)
        if value is not None:
            fits = compute.and_(fits, compute.equal(each.field(name), value))
    mask = np.zeros(len(lists), np.bool_)
    mask[compute.list_parent_indices(lists).to_numpy()[_mask(fits)]] = True
    return mask


def _mask(cells: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(cells.to_numpy(zero_copy_only=False) if isinstance(cells, pa.Array) else cells.to_numpy(), bool)


def _found(group: _Group, row: int, wanted: Wanted | None) -> Found:
    rejected = not group.file.kept
    columns = (*_COLUMNS, *(_WHY if rejected else ()))
    values_of: dict[str, Any] = group.read(columns).slice(row, 1).to_pylist()[0]
    verdicts = tuple(values_of.pop("verdicts"))
    if wanted is not None and (wanted.outcome == "changed" or (wanted.outcome == "kept" and wanted.operator)):
        outcome = "change" if wanted.outcome == "changed" else "keep"
        mine = next(
            verdict
            for verdict in verdicts
            if verdict["outcome"] == outcome
            and wanted.operator in (None, verdict["operator"])
            and wanted.reason in (None, verdict["reason"])
        )
        values_of |= {name: mine[name] for name in _WHY}
    return Found(**values_of, kept=not rejected, verdicts=verdicts)
