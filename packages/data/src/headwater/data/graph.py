"""Connected components on any engine, in rounds of grouping: no machine needs to hold the graph.

Large-star and small-star of Kiveris et al. ("Connected Components in MapReduce and Beyond", SoCC 2014): every round
ties each node's neighbours to the least of them, until nothing changes. The result, each node with the least node of
its component, does not depend on the rounds. A graph that fits one task is solved in one; in rounds, no task needs to
hold the neighbours of a node: the least one is found first (`firsts.py`), and joined to the edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from headwater.core.hashing import mix64
from headwater.data.arrow import column, compute, table, take
from headwater.data.engine import Dataset, Engine
from headwater.data.firsts import firsts, with_first
from headwater.data.shuffle import differs, plain

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
    seen = totals(engine, f"{stage}-totals", edges)
    if seen[0] <= one_task_edges:
        keyed = engine.derive(edges, OneKey())
        return engine.group_by_key(f"{stage}-solve", keyed, ["key"], ["a", "b"], _Solve())
    for number in range(_MOST_ROUNDS):
        both = with_first(engine, f"{stage}-large-{number}", engine.derive(edges, _BothWays()), EDGES, more_than=0)
        large = engine.map_batches(f"{stage}-larger-{number}", both, _LargeStar())["edges"]
        down = engine.derive(large, _Ordered(descending=True))
        down = with_first(engine, f"{stage}-small-{number}", down, EDGES, more_than=0)
        small = engine.derive(down, _SmallStar())
        edges = engine.group_by_key(
            f"{stage}-edges-{number}", engine.derive(small, _Ordered()), ["a", "b"], [], _Distinct()
        )
        now = totals(engine, f"{stage}-totals-{number}", edges)
        if now == seen:
            break
        seen = now
    else:
        raise RuntimeError(f"connected components did not settle in {_MOST_ROUNDS} rounds")
    # Every component is a star around its least node now, and a node has one component.
    return engine.derive(firsts(engine, f"{stage}-nodes", engine.derive(edges, _Star()), COMPONENTS), _Labels())


def totals(engine: Engine, stage: str, edges: Dataset) -> tuple[int, int]:
    """The number of edges (`a`, `b`), and a sum over them that tells two sets of edges apart."""
    sums = engine.map_batches(stage, edges, _Sums())["sums"]
    found = engine.collect(engine.group_by_key(f"{stage}-all", sums, ["key"], [], _Add()))
    if not found.num_rows:
        return 0, 0
    return int(found.column("edges")[0].as_py()), int(found.column("digest")[0].as_py())


@dataclass(frozen=True)
class _Ordered:
    """Each edge of a batch once, with its lesser end first (or last)."""

    descending: bool = False
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"edges": EDGES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        a, b = column(batch, "a"), column(batch, "b")
        first = compute.greater(a, b) if self.descending else compute.less(a, b)
        ordered = table({"a": compute.if_else(first, a, b), "b": compute.if_else(first, b, a)}, EDGES)
        return {"edges": ordered.group_by(EDGES.names, use_threads=False).aggregate([])}


@dataclass(frozen=True)
class _BothWays:
    """Each edge in both directions."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"edges": EDGES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        a, b = column(batch, "a"), column(batch, "b")
        return {"edges": table({"a": pa.concat_arrays([a, b]), "b": pa.concat_arrays([b, a])}, EDGES)}


@dataclass(frozen=True)
class OneKey:
    """All edges under one key: for as many as one task holds."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"edges": _KEYED})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `EDGES`."""
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
class _Labels:
    """Nodes and their components, without what else there is."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"nodes": COMPONENTS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        return {"nodes": batch.select(COMPONENTS.names)}


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
        return groups.filter(pa.array(differs(plain(groups.column("a"))) | differs(plain(groups.column("b")))))


@dataclass(frozen=True)
class _LargeStar:
    """Ties the larger neighbours `b` of each node `a` to the least of its neighbours and itself."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"edges": EDGES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        batch = batch.filter(compute.greater(batch.column("b"), batch.column("a")))
        least = compute.min_element_wise(batch.column("a"), batch.column("first_b"))
        return {"edges": table({"a": least, "b": batch.column("b")}, EDGES)}


@dataclass(frozen=True)
class _SmallStar:
    """Ties each node `a` and its neighbours `b`, all of them less, to the least of them."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"edges": EDGES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        a, b, least = (column(batch, name) for name in ("a", "b", "first_b"))
        return {"edges": table({"a": least, "b": compute.if_else(compute.equal(b, least), a, b)}, EDGES)}


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
