"""Connected components on any engine, in rounds of grouping: no machine needs to hold the graph.

Large-star and small-star of Kiveris et al. ("Connected Components in MapReduce and Beyond", SoCC 2014): every round
brings each node's neighbours together and ties them to the least of them, until nothing changes. The result, each node
with the least node of its component, does not depend on the rounds. A graph that fits one task is solved in one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.core.hashing import mix64
from headwater.data.arrow import column, compute, table, take
from headwater.data.engine import Dataset, Engine
from headwater.data.shuffle import plain

EDGES = pa.schema([pa.field("a", pa.binary()), pa.field("b", pa.binary())])
COMPONENTS = pa.schema([pa.field("node", pa.binary()), pa.field("component", pa.binary())])
_SUMS = pa.schema([pa.field("key", pa.int64()), pa.field("edges", pa.int64()), pa.field("digest", pa.int64())])
_KEYED = pa.schema([pa.field("key", pa.int64()), *EDGES])

ONE_TASK_EDGES = 2_000_000
"""Edges up to which one task solves the graph: some 200 MB of memory."""
_MOST_ROUNDS = 100  # each round at least halves the depth; a graph of 10^12 nodes needs fewer than 50


def connected_components(
    engine: Engine, stage: str, edges: Dataset, *, one_task_edges: int = ONE_TASK_EDGES
) -> Dataset:
    """Components of the graph with edges (`a`, `b`).

    Args:
        engine: Where to run.
        stage: Prefix of the steps' names.
        edges: Rows of `EDGES` (other columns are ignored); both ends binary of one length, a ≠ b.
        one_task_edges: Edges up to which one task solves the graph.

    Returns:
        Rows of `COMPONENTS`: every node that has an edge, and the least node of its component.
    """
    edges = engine.group_by_key(f"{stage}-edges", engine.derive(edges, _Ordered()), ["a", "b"], [], _Distinct())
    seen = _totals(engine, f"{stage}-totals", edges)
    if seen[0] <= one_task_edges:
        keyed = engine.derive(edges, _OneKey())
        return engine.group_by_key(f"{stage}-solve", keyed, ["key"], ["a", "b"], _Solve())
    for number in range(_MOST_ROUNDS):
        both = engine.derive(edges, _BothWays())
        large = engine.group_by_key(f"{stage}-large-{number}", both, ["a"], ["b"], _LargeStar())
        down = engine.derive(large, _Ordered(descending=True))
        small = engine.group_by_key(f"{stage}-small-{number}", down, ["a"], ["b"], _SmallStar())
        edges = engine.group_by_key(
            f"{stage}-edges-{number}", engine.derive(small, _Ordered()), ["a", "b"], [], _Distinct()
        )
        now = _totals(engine, f"{stage}-totals-{number}", edges)
        if now == seen:
            break
        seen = now
    else:
        raise RuntimeError(f"connected components did not settle in {_MOST_ROUNDS} rounds")
    # Every component is a star around its least node now.
    stars = engine.derive(edges, _Star())
    return engine.group_by_key(f"{stage}-nodes", stars, ["node"], ["component"], _DistinctNodes())


def _totals(engine: Engine, stage: str, edges: Dataset) -> tuple[int, int]:
    """The number of edges and a sum over them that tells two sets of edges apart."""
    sums = engine.map_batches(stage, edges, _Sums())["sums"]
    found = engine.collect(engine.group_by_key(f"{stage}-all", sums, ["key"], [], _Add()))
    if not found.num_rows:
        return 0, 0
    return int(found.column("edges")[0].as_py()), int(found.column("digest")[0].as_py())


@dataclass(frozen=True)
class _Ordered:
    """Each edge with its lesser end first (or last)."""

    descending: bool = False
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"edges": EDGES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        a, b = column(batch, "a"), column(batch, "b")
        first = compute.greater(a, b) if self.descending else compute.less(a, b)
        return {"edges": table({"a": compute.if_else(first, a, b), "b": compute.if_else(first, b, a)}, EDGES)}


@dataclass(frozen=True)
class _BothWays:
    """Each edge in both directions."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"edges": EDGES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        a, b = column(batch, "a"), column(batch, "b")
        return {"edges": table({"a": pa.concat_arrays([a, b]), "b": pa.concat_arrays([b, a])}, EDGES)}


@dataclass(frozen=True)
class _OneKey:
    """All edges under one key."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"edges": _KEYED})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        key = pa.array(np.zeros(batch.num_rows, np.int64))
        return {"edges": table({"key": key, "a": batch.column("a"), "b": batch.column("b")}, _KEYED)}


@dataclass(frozen=True)
class _Star:
    """Edges of stars as components: the least end is the centre, and its own component."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"nodes": COMPONENTS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        a, b = column(batch, "a"), column(batch, "b")
        return {"nodes": table({"node": pa.concat_arrays([b, a]), "component": pa.concat_arrays([a, a])}, COMPONENTS)}


@dataclass(frozen=True)
class _Sums:
    """The number of edges of a batch, and a sum of hashes."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"sums": _SUMS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        hashes = np.zeros(batch.num_rows, np.uint64)
        for name in ("a", "b"):
            ends = plain(batch.column(name))
            words = np.frombuffer(ends.tobytes().ljust(1), np.uint8).reshape(batch.num_rows, -1) if len(ends) else None
            if words is not None:
                padded = np.pad(words, ((0, 0), (0, -words.shape[1] % 8)))
                for word in padded.view(np.uint64).T:
                    hashes = mix64(hashes * np.uint64(3) + word)
        digest = int(hashes.sum(dtype=np.uint64).view(np.int64)) if len(hashes) else 0
        return {"sums": table({"key": [0], "edges": [batch.num_rows], "digest": [digest]}, _SUMS)}


@dataclass(frozen=True)
class _Add:
    """Sums of sums; the digest wraps around."""

    output: pa.Schema = _SUMS

    def __call__(self, groups: pa.Table) -> pa.Table:
        digest = int(groups.column("digest").to_numpy().sum(dtype=np.int64))
        return table({"key": [0], "edges": [int(groups.column("edges").to_numpy().sum())], "digest": [digest]}, _SUMS)


@dataclass(frozen=True)
class _Distinct:
    """One row an edge."""

    output: pa.Schema = EDGES

    def __call__(self, groups: pa.Table) -> pa.Table:
        return groups.filter(pa.array(_fresh(plain(groups.column("a"))) | _fresh(plain(groups.column("b")))))


@dataclass(frozen=True)
class _DistinctNodes:
    """One row a node."""

    output: pa.Schema = COMPONENTS

    def __call__(self, groups: pa.Table) -> pa.Table:
        return groups.filter(pa.array(_fresh(plain(groups.column("node")))))


@dataclass(frozen=True)
class _LargeStar:
    """Ties the larger neighbours of each node `a` to the least of its neighbours and itself."""

    output: pa.Schema = EDGES

    def __call__(self, groups: pa.Table) -> pa.Table:
        a, b = plain(groups.column("a")), plain(groups.column("b"))
        first = _first_of_group(a)
        larger = np.flatnonzero(b > a)
        return _tied(groups, larger, first[larger], a, b)


@dataclass(frozen=True)
class _SmallStar:
    """Ties each node `a` and its neighbours, all of them less, to the least of them."""

    output: pa.Schema = EDGES

    def __call__(self, groups: pa.Table) -> pa.Table:
        a = plain(groups.column("a"))
        first = _first_of_group(a)
        least = take(groups.column("b"), first)
        starts = np.flatnonzero(_fresh(a))
        others = np.flatnonzero(~_fresh(a))
        own = {"a": take(least, starts), "b": take(groups.column("a"), starts)}
        rest = {"a": take(least, others), "b": take(groups.column("b"), others)}
        rows = pa.concat_tables([table(own, EDGES), table(rest, EDGES)])
        return rows.filter(compute.not_equal(rows.column("a"), rows.column("b")))


@dataclass(frozen=True)
class _Solve:
    """The whole graph at once, by scipy."""

    output: pa.Schema = COMPONENTS

    def __call__(self, groups: pa.Table) -> pa.Table:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components as solve

        ends = [column(groups, name).combine_chunks() for name in ("a", "b")]
        nodes = compute.unique(pa.concat_arrays(ends))
        nodes = nodes.take(compute.sort_indices(nodes))
        known = plain(nodes)
        a, b = (np.searchsorted(known, plain(end)) for end in ends)
        graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(len(nodes), len(nodes)))
        _, labels = solve(graph, directed=False)
        _, first = np.unique(labels, return_index=True)  # nodes are sorted: the first of each label is the least
        return table({"node": nodes, "component": take(nodes, first[labels])}, COMPONENTS)


def _fresh(values: npt.NDArray[np.bytes_]) -> npt.NDArray[np.bool_]:
    """True where a value differs from the one before it."""
    fresh = np.ones(len(values), np.bool_)
    fresh[1:] = values[1:] != values[:-1]
    return fresh


def _first_of_group(keys: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int64]:
    """The place of the first row of each row's group."""
    return np.maximum.accumulate(np.where(_fresh(keys), np.arange(len(keys)), 0))


def _tied(
    groups: pa.Table,
    rows: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    a: npt.NDArray[np.bytes_],
    b: npt.NDArray[np.bytes_],
) -> pa.Table:
    """Edges from the least of (own node, first neighbour) to the neighbour of each row."""
    use_neighbour = b[first] < a[first]
    centre = compute.if_else(pa.array(use_neighbour), take(groups.column("b"), first), take(groups.column("a"), first))
    return table({"a": centre, "b": take(groups.column("b"), rows)}, EDGES)
