"""Every engine gives the rows that the `Engine` protocol promises, for the types and oddities that pipelines have."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest

from headwater.core.documents import VERDICT
from headwater.data.config import EngineConfig
from headwater.data.engines.choose import open_engine
from headwater.data.engines.local import LocalEngine
from headwater.data.graph import EDGES, connected_components

THINGS = pa.schema(
    [
        pa.field("key", pa.binary()),
        pa.field("number", pa.int64()),
        pa.field("name", pa.string(), nullable=False),
        pa.field("blob", pa.binary()),
        pa.field("big", pa.large_binary()),
        pa.field("score", pa.float32()),
        pa.field("flag", pa.bool_()),
        pa.field("status", pa.int32()),
        pa.field("hashes", pa.list_(pa.int64())),
        pa.field("verdicts", pa.list_(VERDICT), nullable=False),
    ]
)
NAMES = ["", "a", "naïve", "日本語", "𝔘𝔫𝔦", "line\nbreak", "nul\0inside", "e\u0301", "  spaced  "]
BLOBS = [b"", b"\0", b"\0\0\0", b"a\0b", bytes(range(256)), b"\xff\xfe"]


def key(number):
    return hashlib.sha256(str(number).encode()).digest()[:16]


def things(count, first=0):
    rows = [
        {
            "key": key(i % 17), "number": i - 20, "name": NAMES[i % len(NAMES)], "blob": BLOBS[i % len(BLOBS)],
            "big": BLOBS[i % len(BLOBS)] * 3, "score": float(np.float32(i / 7)), "flag": i % 3 == 0, "status": -i,
            "hashes": list(range(-(i % 4), 0)),
            "verdicts": [{"operator": f"o{j}", "outcome": "pass", "reason": "", "detail": "ü"} for j in range(i % 3)],
        }
        for i in range(first, first + count)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=THINGS)


@dataclass(frozen=True)
class Rows:
    """A reader of a table that is given; `size` makes the local engine cut it into several partitions."""

    table: pa.Table
    size: int = 10_000

    def __call__(self):
        yield from self.table.to_batches(max_chunksize=7)


@dataclass(frozen=True)
class OddAndEven:
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"odd": THINGS, "even": THINGS, "never": THINGS})

    def __call__(self, batch):
        odd = pa.array([number % 2 == 1 for number in batch.column("number").to_pylist()])
        even = pa.array([number % 2 == 0 for number in batch.column("number").to_pylist()])
        return {"odd": batch.filter(odd), "even": pa.Table.from_batches([batch.filter(even)])}


NUMBERED = pa.schema([pa.field("id", pa.int64()), pa.field("name", pa.string())])


@dataclass(frozen=True)
class Numbered:
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"numbered": NUMBERED})

    def __call__(self, batch):
        names = [name + "!" for name in batch.column("name").to_pylist()]
        return {"numbered": pa.table({"id": batch.column("number"), "name": names}, schema=NUMBERED)}


GATHERED = pa.schema([pa.field("name", pa.string()), pa.field("numbers", pa.list_(pa.int64()))])


@dataclass(frozen=True)
class Gathered:
    """The numbers of each name, in the order they come."""

    output: pa.Schema = GATHERED

    def __call__(self, groups):
        found = defaultdict(list)
        for row in groups.select(["name", "number"]).to_pylist():
            found[row["name"]].append(row["number"])
        return pa.table({"name": list(found), "numbers": list(found.values())}, schema=GATHERED)


def local(folder):
    return LocalEngine(folder, shuffle_bytes=10**9)


def local_cut(folder):
    return LocalEngine(folder, shuffle_bytes=3_000)


def opened(config, folder):
    return open_engine(config, folder, lambda: "work")


def beam(folder):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed")
    return opened(EngineConfig(name="beam", workers=1), folder)


def beam_cut(folder):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed")
    return opened(EngineConfig(name="beam", workers=1, beam={"shuffle_partitions": 5}), folder)


def spark(folder):
    return opened(EngineConfig(name="spark"), folder)


def spark_cut(folder):
    """Several tasks a shuffle, and joins by sorting both sides."""
    conf = {"spark.sql.autoBroadcastJoinThreshold": "-1", "spark.sql.adaptive.enabled": "false",
            "spark.sql.execution.arrow.maxRecordsPerBatch": "3"}  # fmt: skip
    return opened(EngineConfig(name="spark", spark={"shuffle_partitions": 5, "conf": conf}), folder)


ENGINES = [
    pytest.param(local, id="local"),
    pytest.param(local_cut, id="local-cut"),
    pytest.param(spark, id="spark", marks=pytest.mark.spark),
    pytest.param(spark_cut, id="spark-cut", marks=pytest.mark.spark),
    pytest.param(beam, id="beam", marks=pytest.mark.beam),
    pytest.param(beam_cut, id="beam-cut", marks=pytest.mark.beam),
]


@pytest.fixture(params=ENGINES)
def engine(request, tmp_path):
    if request.param in (spark, spark_cut):
        request.getfixturevalue("spark_session")
    with request.param(tmp_path) as opened:
        yield opened


def read(engine, *tables, schema=THINGS):
    return engine.read([Rows(table) for table in tables], schema)


def rows(table, *by):
    return sorted(table.to_pylist(), key=lambda row: [row[name] for name in by])


def test_every_type_comes_through_a_map_and_a_collect(engine):
    table = things(60)
    found = engine.map_batches("split", read(engine, table.slice(0, 11), table.slice(11)), OddAndEven())
    odd, even = engine.collect(found["odd"]), engine.collect(found["even"])
    assert odd.schema.equals(THINGS) and even.schema.equals(THINGS)
    assert rows(odd, "number") == [row for row in table.to_pylist() if row["number"] % 2 == 1]
    assert rows(even, "number") == [row for row in table.to_pylist() if row["number"] % 2 == 0]
    never = engine.collect(found["never"])
    assert never.num_rows == 0 and never.schema.equals(THINGS)


def test_every_type_comes_through_a_shuffle(engine):
    table = things(60)

    found = engine.group_by_key("same", read(engine, table), ["key"], ["number"], Whole())
    assert rows(engine.collect(found), "number") == table.to_pylist()


@dataclass(frozen=True)
class Whole:
    output: pa.Schema = THINGS

    def __call__(self, groups):
        return groups


def test_derived_rows_and_unions(engine):
    a, b = read(engine, things(20)), read(engine, things(5, first=100), things(0))
    both = engine.union([engine.derive(a, Numbered()), engine.derive(b, Numbered())])
    twice = engine.union([both, engine.derive(a, Numbered())])
    expected = [
        {"id": row["number"], "name": row["name"] + "!"}
        for row in [*things(20).to_pylist(), *things(5, first=100).to_pylist()]
    ]
    assert rows(engine.collect(both), "id") == expected
    assert rows(engine.collect(twice), "id") == sorted([*expected, *expected[:20]], key=lambda row: row["id"])


def test_groups_are_whole_and_in_the_order_asked_for(engine):
    table = things(90)
    shuffled = table.take(np.random.Generator(np.random.Philox(key=3)).permutation(90))
    data = read(engine, shuffled.slice(0, 31), shuffled.slice(31))
    expected = {name: sorted(row["number"] for row in table.to_pylist() if row["name"] == name) for name in NAMES}
    found = engine.collect(engine.group_by_key("names", data, ["name"], ["number"], Gathered())).to_pylist()
    assert len(found) == len(NAMES) and {row["name"]: row["numbers"] for row in found} == expected


def test_groups_by_two_keys(engine):
    data = read(engine, things(90))
    found = engine.collect(engine.group_by_key("pairs", data, ["key", "name"], ["number"], FirstOfPair()))
    expected = {}
    for row in things(90).to_pylist():
        expected.setdefault((row["key"], row["name"]), row["number"])
    assert {(row["key"], row["name"]): row["number"] for row in found.to_pylist()} == expected
    assert found.num_rows == len(expected)


PAIR = pa.schema([THINGS.field("key"), pa.field("name", pa.string()), THINGS.field("number")])


@dataclass(frozen=True)
class FirstOfPair:
    output: pa.Schema = PAIR

    def __call__(self, groups):
        seen = {}
        for row in groups.select(PAIR.names).to_pylist():
            seen.setdefault((row["key"], row["name"]), row)
        return pa.Table.from_pylist(list(seen.values()), schema=PAIR)


def test_a_join_keeps_left_rows_without_a_match(engine):
    wanted = things(17).select(["key", "name", "blob", "verdicts"]).take(list(range(0, 17, 2)))
    right = read(engine, wanted, schema=wanted.schema)
    found = engine.collect(engine.join(read(engine, things(40)), right, left_on="key", right_on="key", prefix="r_"))
    by_key = {row["key"]: row for row in wanted.to_pylist()}
    expected = [
        {**row, **{f"r_{name}": by_key.get(row["key"], {}).get(name) for name in ("name", "blob", "verdicts")}}
        for row in things(40).to_pylist()
    ]
    assert rows(found, "number") == expected
    assert found.schema.names == [*THINGS.names, "r_name", "r_blob", "r_verdicts"]


def test_a_join_by_whole_numbers_under_other_names_and_a_join_of_a_join(engine):
    names = pa.table({"id": [-20, -18, 5, 10**15], "name": ["", "zwei", "fünf", "far"]}, schema=NUMBERED)
    left = read(engine, things(30))
    once = engine.join(left, read(engine, names, schema=NUMBERED), left_on="number", right_on="id", prefix="a_")
    more = pa.table({"id": [0, -5], "name": ["zero", "five"]}, schema=NUMBERED)
    twice = engine.join(once, read(engine, more, schema=NUMBERED), left_on="number", right_on="id", prefix="b_")
    found = rows(engine.collect(twice), "number")
    assert {row["number"]: row["a_name"] for row in found if row["a_name"] is not None} == {
        -20: "",
        -18: "zwei",
        5: "fünf",
    }
    assert {row["number"]: row["b_name"] for row in found if row["b_name"] is not None} == {0: "zero", -5: "five"}
    assert len(found) == 30


@pytest.mark.parametrize("tables", [(), (THINGS.empty_table(),), (THINGS.empty_table(), THINGS.empty_table())])
def test_nothing_in_nothing_out(engine, tables):
    data = read(engine, *tables)
    mapped = engine.map_batches("split", data, OddAndEven())["odd"]
    joined = engine.join(mapped, data, left_on="key", right_on="key", prefix="r_")
    grouped = engine.group_by_key("names", joined, ["name"], ["number"], Gathered())
    assert engine.collect(mapped).num_rows == 0 == engine.collect(grouped).num_rows
    assert engine.collect(grouped).schema.equals(GATHERED)
    assert engine.collect(joined).schema.names[-1] == "r_verdicts"


def test_one_empty_side_of_a_join(engine):
    nothing, data = read(engine, THINGS.empty_table()), read(engine, things(9))
    full = engine.collect(engine.join(data, nothing, left_on="key", right_on="key", prefix="r_"))
    assert full.num_rows == 9 and full.column("r_name").null_count == 9
    assert engine.collect(engine.join(nothing, data, left_on="key", right_on="key", prefix="l_")).num_rows == 0


def test_a_result_is_used_before_and_after_it_is_collected(engine):
    data = engine.map_batches("split", read(engine, things(60)), OddAndEven())
    groups = engine.group_by_key("names", data["even"], ["name"], ["number"], Gathered())
    first = engine.collect(groups)
    counted = engine.group_by_key("again", engine.union([data["even"], data["odd"]]), ["name"], ["number"], Gathered())
    assert sum(len(row["numbers"]) for row in first.to_pylist()) == 30
    assert sum(len(row["numbers"]) for row in engine.collect(counted).to_pylist()) == 60
    assert rows(engine.collect(groups), "name") == rows(first, "name")


@pytest.mark.parametrize("one_task_edges", [10**6, 0])
def test_connected_components_in_one_task_and_in_rounds(engine, one_task_edges):
    random = np.random.Generator(np.random.Philox(key=5))
    count = 40 if one_task_edges else 12  # rounds are jobs, and jobs of some engines take seconds
    pairs = [(int(i), int(j)) for i, j in random.integers(0, 3 * count // 2, (count, 2)) if i != j]
    pairs += [(100, 101), (102, 101), (102, 103), (104, 103), (100, 101)]
    columns = [pa.array([key(pair[end]) for pair in pairs], pa.binary()) for end in (0, 1)]
    edges = pa.table(columns, schema=EDGES)
    data = read(engine, edges.slice(0, 9), edges.slice(9), schema=EDGES)
    found = engine.collect(connected_components(engine, "graph", data, one_task_edges=one_task_edges)).to_pylist()
    graph = nx.Graph([(key(a), key(b)) for a, b in pairs])
    expected = {node: min(part) for part in nx.connected_components(graph) for node in part}
    assert {row["node"]: row["component"] for row in found} == expected and len(found) == len(expected)


def test_a_name_is_used_once(engine):
    data = read(engine, things(3))
    engine.map_batches("once", data, OddAndEven())
    with pytest.raises(ValueError, match="two steps are called once"):
        engine.map_batches("once", data, OddAndEven())
