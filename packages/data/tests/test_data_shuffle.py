import hashlib
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.data.engines.local import LocalEngine
from headwater.data.shuffle import find, partitions_of, plain, slices, sorted_places, split

SCHEMA = pa.schema([pa.field("key", pa.binary()), pa.field("value", pa.int64())])
SUMS = pa.schema([pa.field("key", pa.binary()), pa.field("values", pa.list_(pa.int64()))])
NAMES = pa.schema([pa.field("name", pa.binary()), pa.field("text", pa.string())])


@dataclass(frozen=True)
class Rows:
    table: pa.Table
    size: int = 10_000

    def __call__(self):
        yield from self.table.to_batches(max_chunksize=7)


@dataclass(frozen=True)
class Together:
    """The values of each group, in the order they come."""

    output: pa.Schema = SUMS

    def __call__(self, groups):
        found = defaultdict(list)
        for row in groups.to_pylist():
            found[row["key"]].append(row["value"])
        return pa.table({"key": list(found), "values": list(found.values())}, schema=SUMS)


def key(number):
    return hashlib.sha256(str(number).encode()).digest()[:16]


def rows(numbers):
    return pa.table({"key": [key(n % 50) for n in numbers], "value": list(numbers)}, schema=SCHEMA)


@given(st.lists(st.binary(max_size=9), max_size=60), st.integers(1, 9))
@settings(max_examples=50)
def test_rows_of_one_key_meet_in_one_partition(keys, count):
    table = pa.table({"key": pa.array(keys, pa.binary()), "place": list(range(len(keys)))})
    pieces = list(split(table, ["key"], count))
    assert len(pieces) == count
    assert sorted(place for piece in pieces for place in piece.column("place").to_pylist()) == list(range(len(keys)))
    owners = defaultdict(set)
    for owner, piece in enumerate(pieces):
        for each in piece.column("key").to_pylist():
            owners[each].add(owner)
    assert all(len(found) == 1 for found in owners.values())
    # A slice of a table has other buffers' bounds, and the same partitions.
    assert partitions_of(table.slice(1), ["key"], count).tolist() == partitions_of(table, ["key"], count)[1:].tolist()


def test_partitions_are_even_and_pinned():
    table = rows(range(5_000)).append_column("n", pa.array(range(5_000), pa.int64()))
    sizes = np.bincount(partitions_of(table, ["n"], 8), minlength=8)
    assert sizes.min() > 500 and sizes.max() < 750
    assert partitions_of(table.slice(0, 6), ["key"], 8).tolist() == partitions_of(rows(range(6)), ["key"], 8).tolist()


def test_find_returns_places_or_minus_one():
    keys = plain(pa.array(sorted(key(n) for n in range(20)), pa.binary()))
    wanted = plain(pa.array([key(3), key(99), key(0)], pa.binary()))
    places = find(keys, wanted)
    assert places[1] == -1 and [bytes(keys[p]) for p in places[[0, 2]]] == [key(3), key(0)]
    assert find(plain(pa.array([], pa.binary())), wanted).tolist() == [-1, -1, -1]


def test_binary_keys_that_end_in_zeros_are_told_apart():
    keys = sorted([b"a\0\0\0", b"a\0\0b", b"a\0b\0", b"ab\0\0"])
    known = plain(pa.array(keys, pa.binary()))
    assert find(known, plain(pa.array(keys, pa.binary()))).tolist() == [0, 1, 2, 3]
    assert find(known, plain(pa.array([b"a\0\0c"], pa.binary()))).tolist() == [-1]


def test_keys_of_several_lengths_are_refused_for_joins():
    with pytest.raises(ValueError, match="one length"):
        plain(pa.array([b"a", b"bb"], pa.binary()))


@pytest.mark.parametrize(("shuffle_bytes", "workers"), [(10**9, 1), (3_000, 1), (3_000, 2)])
def test_groups_are_whole_and_in_order(tmp_path, shuffle_bytes, workers):
    numbers = list(range(200))
    table = rows(numbers[::-1])
    with LocalEngine(tmp_path, workers, shuffle_bytes) as engine:
        data = engine.read([Rows(table.slice(0, 77)), Rows(table.slice(77))], SCHEMA)
        found = engine.collect(engine.group_by_key("groups", data, ["key"], ["value"], Together())).to_pylist()
    assert {row["key"]: row["values"] for row in found} == {key(k): numbers[k::50] for k in range(50)}
    assert len(found) == 50


@pytest.mark.parametrize("shuffle_bytes", [10**9, 3_000])
def test_a_join_keeps_every_left_row(tmp_path, shuffle_bytes):
    names = pa.table(
        {"name": [key(k) for k in range(0, 50, 2)], "text": [f"t{k}" for k in range(0, 50, 2)]}, schema=NAMES
    )
    with LocalEngine(tmp_path, shuffle_bytes=shuffle_bytes) as engine:
        left = engine.read([Rows(rows(range(120)))], SCHEMA)
        right = engine.read([Rows(names)], NAMES)
        found = engine.collect(engine.join(left, right, left_on="key", right_on="name", prefix="n_")).to_pylist()
    assert [row["value"] for row in found] == list(range(120))
    assert [row["n_text"] for row in found] == [f"t{v % 50}" if v % 50 % 2 == 0 else None for v in range(120)]


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 60))
def test_slices_are_whole_and_small_enough(sizes, most):
    parts = list(slices(np.array(sizes, np.int64), most))
    assert [place for part in parts for place in range(part.start, part.stop)] == list(range(len(sizes)))
    assert all(sum(sizes[part]) <= most or part.stop - part.start == 1 for part in parts)


def test_a_long_row_joined_to_many_comes_in_pieces(tmp_path):
    names = pa.table({"name": [key(0), key(1)], "text": ["x" * 4_000_000, "short"]}, schema=NAMES)
    with LocalEngine(tmp_path) as engine:
        left = engine.read([Rows(rows([0, 1] * 25))], SCHEMA)
        (part,) = engine.join(left, engine.read([Rows(names)], NAMES), left_on="key", right_on="name").parts
        batches = list(part())
    assert max(batch.nbytes for batch in batches) < 17_000_000
    assert [len(text) for batch in batches for text in batch.column("text").to_pylist()] == [4_000_000, 5] * 25


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=50),
    st.sampled_from(["binary", "integer", "text"]),
)
def test_places_are_sorted_by_all_columns(pairs, kind):
    make = {"binary": lambda n: bytes([1] * 8) + key(n), "integer": lambda n: n - 2, "text": str}[kind]
    table = pa.table({"key": [make(a) for a, _ in pairs], "value": pa.array([b for _, b in pairs], pa.int64())})
    found = table.take(pa.array(sorted_places(table, ["key", "value"]))).to_pylist()
    assert found == sorted(table.to_pylist(), key=lambda row: (row["key"], row["value"]))
