"""Clusters of duplicates, from the verdicts: which documents went, and for which that stayed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa

from headwater.data.arrow import compute, values
from headwater.data.inspect.select import Documents, Found

LARGEST = 10
_EXAMPLES = 3
_KEPT, _CLUSTER = r'"kept":\s*"(?P<id>[0-9a-f]+)"', r'"cluster":\s*"(?P<id>[0-9a-f]+)"'
_ROWS = pa.schema([pa.field(name, pa.string()) for name in ("operator", "cluster", "kept")])


@dataclass(frozen=True)
class Cluster:
    """One of the largest clusters.

    Attributes:
        operator: That found it.
        size: Documents, with those that stay.
        removed: Documents that went.
        stays: One that stays; None when this run does not have it.
        stays_id: Its id.
        examples: Some that went.
    """

    operator: str
    size: int
    removed: int
    stays: Found | None
    stays_id: str
    examples: tuple[Found, ...]


@dataclass
class Clusters:
    """What is known of all clusters.

    Attributes:
        sizes: (operator, least size, largest size) → (clusters, documents removed).
        largest: The largest ones.
    """

    sizes: dict[tuple[str, int, int], tuple[int, int]] = field(default_factory=dict)
    largest: list[Cluster] = field(default_factory=list)
    _rows: list[pa.Table] = field(default_factory=list, repr=False)

    def add(self, rejected: pa.Table) -> None:
        """Takes what concerns duplicates from rejected documents (`operator`, `detail`)."""
        kept = _id(rejected.column("detail"), _KEPT)
        cluster = compute.coalesce(_id(rejected.column("detail"), _CLUSTER), kept)
        rows = pa.table([rejected.column("operator"), cluster, kept], schema=_ROWS)
        self._rows.append(rows.filter(compute.is_valid(kept)))

    def close(self, documents: Documents) -> None:
        """Sums up, and looks the largest clusters up."""
        rows = pa.concat_tables([_ROWS.empty_table(), *self._rows])
        self._rows = []
        sums = rows.group_by(["operator", "cluster"], use_threads=False).aggregate(
            [("kept", "count"), ("kept", "count_distinct"), ("kept", "min")]
        )
        columns = ("operator", "cluster", "kept_count", "kept_count_distinct", "kept_min")
        found = [tuple(each.values()) for each in sums.select(columns).to_pylist()]
        counts: Counter[tuple[str, int, int]] = Counter()
        removed: Counter[tuple[str, int, int]] = Counter()
        for operator, _, gone, stay, _ in found:
            bounds = (operator, *_bounds(gone + stay))
            counts[bounds] += 1
            removed[bounds] += gone
        self.sizes = {bounds: (counts[bounds], removed[bounds]) for bounds in sorted(counts)}
        found.sort(key=lambda each: (-each[2] - each[3], each[0], each[1]))
        self._look_up(documents, found[:LARGEST])

    def _look_up(self, documents: Documents, top: list[tuple[str, str, int, int, str]]) -> None:
        if not top:
            return
        wanted = {(operator, cluster): list[str]() for operator, cluster, *_ in top}
        for rows in documents.scan(False, ["id", "operator", "detail"]):
            kept = _id(rows.column("detail"), _KEPT)
            clusters = compute.coalesce(_id(rows.column("detail"), _CLUSTER), kept).to_pylist()
            for identifier, operator, cluster in zip(
                values(rows, "id"), values(rows, "operator"), clusters, strict=True
            ):
                examples = wanted.get((operator, cluster))
                if examples is not None and len(examples) < _EXAMPLES:
                    examples.append(identifier)
        known = documents.by_id([*(each[4] for each in top), *(one for some in wanted.values() for one in some)])
        self.largest = [
            Cluster(operator, gone + stay, gone, known.get(kept), kept,
                    tuple(known[one] for one in wanted[operator, cluster] if one in known))
            for operator, cluster, gone, stay, kept in top
        ]  # fmt: skip


def _id(details: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    return compute.struct_field(compute.extract_regex(details, pattern), "id")


def _bounds(size: int) -> tuple[int, int]:
    """The range that a size is counted under: 2, 3–4, 5–8, 9–16, …"""
    top = 1 << (size - 1).bit_length()
    return (2, 2) if size <= 2 else (top // 2 + 1, top)
