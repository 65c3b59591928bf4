"""Moving rows by key in bounded pieces: whatever is moved at once, the same rows in the same order."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest

from headwater.data import shuffle
from headwater.data.arrow import table

SCHEMA = pa.schema(
    [pa.field("key", pa.binary()), pa.field("number", pa.int64()), pa.field("text", pa.string()),
     pa.field("tags", pa.list_(pa.int32()))]
)  # fmt: skip


def rows(count: int, keys: int, chunk: int) -> pa.Table:
    """Rows in chunks, whose texts are of very different lengths."""
    random = np.random.Generator(np.random.Philox(key=5))
    names = [random.bytes(8) for _ in range(keys)]
    columns = {
        "key": [names[int(place)] for place in random.integers(0, keys, count)],
        "number": list(range(count)),
        "text": ["x" * int(size) for size in random.integers(0, 200, count) ** 2 // 100],
        "tags": [list(range(int(size))) for size in random.integers(0, 4, count)],
    }
    whole = table(columns, SCHEMA)
    return pa.concat_tables([whole.slice(start, chunk) for start in range(0, count, chunk)] or [whole])


@dataclass
class Seen:
    """Gives groups back as they are, and keeps how they came."""

    output: pa.Schema = SCHEMA
    tables: list[pa.Table] = field(default_factory=list)

    def __call__(self, groups: pa.Table) -> pa.Table:
        self.tables.append(groups)
        return groups


@pytest.mark.parametrize("moved", [1, 500, 10**9])
@pytest.mark.parametrize(("count", "keys", "chunk"), [(0, 1, 1), (1, 1, 1), (300, 7, 1), (300, 40, 64), (300, 1, 300)])
def test_groups_are_whole_and_sorted_however_few_rows_are_moved_at_once(
    monkeypatch: pytest.MonkeyPatch, count: int, keys: int, chunk: int, moved: int
) -> None:
    monkeypatch.setattr(shuffle, "MOVED_BYTES", moved)
    data, seen = rows(count, keys, chunk), Seen()
    found = list(shuffle.run_groups(data, ["key"], ["number"], seen))
    expected = data.sort_by([("key", "ascending"), ("number", "ascending")])
    assert pa.concat_tables([SCHEMA.empty_table(), *found]).to_pylist() == expected.to_pylist()
    owners = [set(each.column("key").to_pylist()) for each in seen.tables]
    assert sum(map(len, owners)) == len(set().union(*owners))  # no group was cut
    if moved == 1:
        assert len(owners) == len(set(data.column("key").to_pylist()))
    assert all(column.num_chunks == 1 for each in seen.tables for column in each.columns)


@pytest.mark.parametrize("moved", [1, 500, 10**9])
@pytest.mark.parametrize(
    ("count", "chunk", "partitions"), [(0, 1, 3), (1, 1, 4), (300, 1, 5), (300, 64, 200), (9, 9, 1)]
)
def test_each_partition_has_its_rows_in_their_order(
    monkeypatch: pytest.MonkeyPatch, count: int, chunk: int, partitions: int, moved: int
) -> None:
    monkeypatch.setattr(shuffle, "MOVED_BYTES", moved)
    data = rows(count, 40, chunk)
    pieces = list(shuffle.split(data, ["key"], partitions))
    owners = shuffle.partitions_of(data, ["key"], partitions)
    assert len(pieces) == partitions
    for number, piece in enumerate(pieces):
        assert piece.to_pylist() == data.take(pa.array(np.flatnonzero(owners == number))).to_pylist()


def test_rows_come_in_any_order_and_more_than_once() -> None:
    data = rows(50, 5, 7)
    places = np.array([49, 0, 13, 13, 6, 7, 49])
    assert shuffle.gather(data, places).to_pylist() == data.take(pa.array(places)).to_pylist()
    assert shuffle.gather(data, places[:0]).num_rows == 0


def test_the_bytes_of_rows_add_up() -> None:
    data = rows(300, 40, 64)
    sizes = shuffle.bytes_of(data)
    assert len(sizes) == 300 and abs(int(sizes.sum()) - data.nbytes) < 300
    longest = int(np.argmax([len(text) for text in data.column("text").to_pylist()]))
    assert int(np.argmax(sizes)) == longest
