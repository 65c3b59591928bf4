"""Near-duplicates on any engine: keys → candidate pairs → verified edges → clusters → who stays.

No step holds more than a bucket, or the verified edges of one cluster. Two things are decided by the data alone: which
pairs are compared (`near_keys`), and that a document goes only if a verified edge ties it to one that stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from headwater.data.arrow import column, compute, table, take, values
from headwater.data.earlier import Earlier
from headwater.data.engine import Dataset, Engine, Needs
from headwater.data.graph import connected_components
from headwater.data.near_keys import NearConfig, candidate_keys
from headwater.data.operators import minhash_dedup, simhash_dedup
from headwater.data.operators.exact_dedup import DECISIONS
from headwater.data.operators.simhash_dedup import SimhashDedupConfig
from headwater.data.row_keys import id_of

PAIRS = pa.schema([pa.field("a", pa.binary()), pa.field("b", pa.binary())])
"""`a` is preferred to `b`: its key is less."""
EDGES = pa.schema([*PAIRS, pa.field("jaccard", pa.float64())])
WANTED = pa.schema([pa.field("row", pa.binary()), pa.field("wanted", pa.bool_())])
SHINGLES = pa.schema([pa.field("row", pa.binary()), pa.field("shingles", pa.large_binary())])
"""The sorted hashes, eight bytes each, little end first."""


def near_duplicates(
    engine: Engine, alive: Dataset, config: NearConfig, earlier: Earlier, *, stage: str = "near",
    reason: str = minhash_dedup.REASON,
) -> Dataset:  # fmt: skip
    """Decides which rows go.

    Args:
        engine: Where to run.
        alive: Rows that take part, with `row` and `text`.
        config: Options, of `minhash_dedup` or of `simhash_dedup`.
        earlier: Indexes whose documents take part too.
        stage: Prefix of the steps' names.
        reason: Of the rejections.

    Returns:
        Rows of `DECISIONS`.
    """
    function = candidate_keys(config)
    ((_, schema),) = function.outputs.items()
    keys = earlier.beside(engine, "bands", engine.derive(alive, function), schema)
    max_distance = config.max_distance if isinstance(config, SimhashDedupConfig) else None
    candidates = Candidates(config.all_pairs_up_to, max_distance, earlier)
    again = engine.group_by_key(f"{stage}-candidates", keys, ["key"], ["row"], candidates)
    pairs = engine.group_by_key(f"{stage}-pairs", again, ["a", "b"], [], DistinctPairs())
    wanted = engine.group_by_key(f"{stage}-wanted", engine.derive(pairs, Ends()), ["row"], [], DistinctRows())
    found = engine.join(alive, wanted, left_on="row", right_on="row")
    shingles = engine.map_batches(f"{stage}-shingles", found, Shingle(config.ngram))["shingles"]
    theirs = earlier.read(engine, "shingles", SHINGLES)
    if theirs is not None:
        theirs = engine.derive(engine.join(theirs, wanted, left_on="row", right_on="row"), Wanted())
        shingles = engine.union([shingles, theirs])
    both = engine.join(pairs, shingles, left_on="a", right_on="row", prefix="a_")
    both = engine.join(both, shingles, left_on="b", right_on="row", prefix="b_")
    edges = engine.map_batches(f"{stage}-verify", both, Verify(config.min_jaccard))["edges"]
    components = connected_components(engine, f"{stage}-clusters", edges)
    members = engine.join(edges, components, left_on="a", right_on="node")
    return engine.group_by_key(
        f"{stage}-resolve", members, ["component"], ["b", "a"], Resolve(config.name, earlier, reason=reason)
    )


@dataclass(frozen=True)
class Candidates:
    """Pairs of rows that share a key, and whose fingerprints, if they have any, are close enough."""

    limit: int
    max_distance: int | None
    earlier: Earlier
    output: pa.Schema = PAIRS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `BANDS` or `BLOCKS`, whole groups of a key in order of preference."""
        rows = groups.column("row")
        a, b = minhash_dedup.candidate_pairs(groups.column("key").to_numpy(), self.limit)
        if self.max_distance is not None:
            prints = groups.column("fingerprint").to_numpy().view(np.uint64)
            close = simhash_dedup.distances(prints[a], prints[b]) <= self.max_distance
            a, b = a[close], b[close]
        pairs = table({"a": take(rows, a), "b": take(rows, b)}, PAIRS)
        if self.earlier.names:  # what two earlier documents have in common is settled
            pairs = pairs.filter(pa.array([not self.earlier.is_earlier(row) for row in values(pairs, "b")], pa.bool_()))
        return pairs.filter(compute.not_equal(pairs.column("a"), pairs.column("b")))


@dataclass(frozen=True)
class DistinctPairs:
    """One row a pair."""

    output: pa.Schema = PAIRS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads sorted `PAIRS`."""
        return groups.filter(pa.array(_differs(groups, "a") | _differs(groups, "b")))


@dataclass(frozen=True)
class DistinctRows:
    """One row a key."""

    output: pa.Schema = WANTED

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads sorted `WANTED`."""
        return groups.filter(pa.array(_differs(groups, "row")))


@dataclass(frozen=True)
class Ends:
    """The rows that a pair names."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"rows": WANTED})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `PAIRS`."""
        rows = pa.concat_arrays([column(batch, "a"), column(batch, "b")])
        return {"rows": table({"row": rows, "wanted": pa.array([True] * len(rows))}, WANTED)}


@dataclass(frozen=True)
class Shingle:
    """The n-gram sets of the rows that are in a pair."""

    ngram: int
    needs: ClassVar[Needs] = Needs(("row", "text", "wanted"), valid="wanted")
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"shingles": SHINGLES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads rows with `row` and `text`, joined with `WANTED` or not."""
        if "wanted" in batch.schema.names:
            batch = batch.filter(compute.is_valid(batch.column("wanted")))
        found = [each.astype("<u8").tobytes() for each in minhash_dedup.shingle_sets(batch.column("text"), self.ngram)]
        return {"shingles": table({"row": batch.column("row"), "shingles": pa.array(found, pa.large_binary())})}


@dataclass(frozen=True)
class Wanted:
    """The shingles, of those that an index has, that a pair needs."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"shingles": SHINGLES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """Reads `SHINGLES` joined with `WANTED`."""
        return {"shingles": batch.filter(compute.is_valid(batch.column("wanted"))).select(SHINGLES.names)}


@dataclass(frozen=True)
class Verify:
    """Of the candidate pairs, those whose true Jaccard similarity is high enough."""

    min_jaccard: float
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"edges": EDGES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `PAIRS` joined with the shingles of both ends."""
        first, second = (
            [np.frombuffer(cell.as_buffer(), "<u8") for cell in batch.column(name)]
            for name in ("a_shingles", "b_shingles")
        )
        found = minhash_dedup.jaccards(first, second)
        edges = table({"a": batch.column("a"), "b": batch.column("b"), "jaccard": pa.array(found)}, EDGES)
        return {"edges": edges.filter(pa.array(found >= self.min_jaccard))}


@dataclass(frozen=True)
class Resolve:
    """Who stays in each cluster: in order of preference, a document goes if an edge ties it to one that stays."""

    name: str
    earlier: Earlier
    output: pa.Schema = DECISIONS
    reason: str = minhash_dedup.REASON

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `EDGES` with a column `component`, whole components ordered by `b`, then `a`."""
        gone: dict[bytes, tuple[bytes, float, bytes]] = {}
        columns = (values(groups, name) for name in ("component", "b", "a", "jaccard"))
        for component, later, earlier, similarity in zip(*columns, strict=True):
            # Edges come by their later end, so what became of the earlier one is settled already.
            if later not in gone and earlier not in gone:
                gone[later] = (earlier, similarity, component)
        details = [json.dumps(self._detail(*found)) for found in gone.values()]
        names = {"operator": self.name, "reason": self.reason}
        same = {name: pa.array([value] * len(gone), pa.string()) for name, value in names.items()}
        return table(
            {"row": pa.array(list(gone), pa.binary()), **same, "detail": pa.array(details, pa.string())}, DECISIONS
        )

    def _detail(self, kept: bytes, similarity: float, component: bytes) -> dict[str, str | float]:
        found = {"kept": id_of(kept), "jaccard": round(similarity, 4), "cluster": id_of(component)}
        return {**found, **self.earlier.origin(kept)}


def _hashes(cells: Any) -> list[np.ndarray]:
    """The numbers in each cell of a column of `SHINGLES`, without a copy."""
    return [np.frombuffer(cell.as_buffer(), "<u8") for cell in cells]


def _differs(rows: pa.Table, name: str) -> np.ndarray:
    """True where a column differs from the row before."""
    fresh = np.ones(rows.num_rows, np.bool_)
    if rows.num_rows > 1:
        part = rows.column(name)
        fresh[1:] = compute.not_equal(part.slice(1), part.slice(0, rows.num_rows - 1)).to_numpy()
    return fresh
