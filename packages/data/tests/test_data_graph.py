import hashlib
from dataclasses import dataclass

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest

from headwater.data.engines.local import LocalEngine
from headwater.data.graph import EDGES, connected_components


@dataclass(frozen=True)
class Rows:
    """A reader of a table that is given; `size` makes the engine shuffle in several partitions."""

    table: pa.Table
    size: int = 1_000

    def __call__(self):
        yield from self.table.to_batches()


def node(number):
    return hashlib.sha256(str(number).encode()).digest()


def edges_of(pairs):
    columns = [pa.array([node(pair[end]) for pair in pairs], pa.binary()) for end in (0, 1)]
    return pa.table(columns, schema=EDGES)


def random_graph(seed):
    """Many small trees, and a long chain."""
    random = np.random.Generator(np.random.Philox(key=seed))
    pairs = [(int(i), int(j)) for i, j in random.integers(0, 400, (260, 2)) if i != j]
    return pairs + [(1000 + i, 1001 + i) for i in range(60)] + pairs[:20]


def expected(pairs):
    graph = nx.Graph([(node(a), node(b)) for a, b in pairs])
    return {member: min(part) for part in nx.connected_components(graph) for member in part}


@pytest.mark.parametrize("one_task_edges", [10**6, 0])
@pytest.mark.parametrize("shuffle_bytes", [10**6, 4_000])
def test_components_are_those_of_networkx(tmp_path, one_task_edges, shuffle_bytes):
    pairs = random_graph(1)
    table = edges_of(pairs)
    with LocalEngine(tmp_path, shuffle_bytes=shuffle_bytes) as engine:
        data = engine.read([Rows(table.slice(0, 100)), Rows(table.slice(100))], EDGES)
        result = connected_components(engine, "graph", data, one_task_edges=one_task_edges)
        found = engine.collect(result).to_pylist()
    assert len(found) == len({row["node"] for row in found})
    assert {row["node"]: row["component"] for row in found} == expected(pairs)


def test_a_graph_without_edges_has_no_components(tmp_path):
    with LocalEngine(tmp_path) as engine:
        data = engine.read([Rows(EDGES.empty_table())], EDGES)
        assert engine.collect(connected_components(engine, "graph", data)).num_rows == 0
