"""A line, a text or a band that nearly every document has: what of it meets in one place does not grow with it."""

import json
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from headwater.data import near
from headwater.data.duplicates import exact_duplicates, url_duplicates
from headwater.data.earlier import Earlier
from headwater.data.engines.local import LocalEngine
from headwater.data.near_pairs import PAIRS, candidate_pairs
from headwater.data.operators.exact_dedup import ExactDedupConfig
from headwater.data.operators.host_boilerplate import HostBoilerplateConfig
from headwater.data.operators.line_dedup import LineDedupConfig
from headwater.data.operators.minhash_dedup import MinhashDedupConfig
from headwater.data.operators.substring_dedup import SubstringDedupConfig
from headwater.data.repeated_lines import repeated_lines
from headwater.data.resolve import EDGES, Decide, resolve
from headwater.data.row_keys import id_of, row_keys
from headwater.data.rows import ALIVE
from headwater.data.substrings import repeated_substrings
from headwater.data.templates import host_templates


@dataclass(frozen=True)
class Rows:
    table: pa.Table
    rows_per_batch: int
    size: int = 1_000_000

    def __call__(self):
        yield from self.table.to_batches(max_chunksize=self.rows_per_batch)


@dataclass(frozen=True)
class Counted:
    """A group function that notes the rows of the largest group."""

    function: object
    stage: str
    keys: tuple
    most: dict = field(compare=False)

    @property
    def output(self):
        return self.function.output

    def __call__(self, groups):
        sizes = groups.group_by(list(self.keys)).aggregate([([], "count_all")]).column("count_all").to_numpy()
        self.most[self.stage] = max(self.most.get(self.stage, 0), int(sizes.max(initial=0)))
        return self.function(groups)


class Watched(LocalEngine):
    """Knows the largest group of each step; all is done in this process."""

    def __init__(self, folder, **options):
        super().__init__(folder, **options)
        self.most = {}

    def group_by_key(self, stage, data, keys, order, function):
        return super().group_by_key(stage, data, keys, order, Counted(function, stage, tuple(keys), self.most))


def documents(texts, *, url="http://host/{}", seed=1):
    """Rows of `ALIVE`, in any order of preference."""
    ids = np.random.Generator(np.random.Philox(key=seed)).bytes(16 * len(texts))
    keys = row_keys(0, [ids[16 * k : 16 * k + 16].hex() for k in range(len(texts))], [b"x"] * len(texts))
    same = {name: [value] * len(texts) for name, value in (("source", "web"), ("content_type", "text/html"))}
    return (
        pa.table({"row": keys, "text": texts, "url": [url.format(k) for k in range(len(texts))], **same})
        .select(ALIVE.names)
        .cast(ALIVE)
    )


def read(engine, rows, batches, parts=4):
    """The rows in so many batches."""
    per_part = -(-rows.num_rows // parts)
    per_batch = -(-rows.num_rows // batches)
    return engine.read([Rows(rows.slice(k * per_part, per_part), per_batch) for k in range(parts)], ALIVE)


@pytest.mark.parametrize(("find", "count"), [(exact_duplicates, 200_000), (url_duplicates, 5_000)])
def test_of_equal_documents_one_a_batch_meets(tmp_path, find, count):
    rows = documents(["the same words"] * count, url="http://host/")
    first = id_of(min(rows.column("row").to_pylist()))
    options = (ExactDedupConfig(),) if find is exact_duplicates else ()
    with Watched(tmp_path) as engine:
        found = engine.collect(find(engine, read(engine, rows, 200), *options, Earlier()))
    assert found.num_rows == count - 1
    assert {json.loads(detail)["kept"] for detail in set(found.column("detail").to_pylist())} == {first}
    assert max(engine.most.values()) <= 200, engine.most


@pytest.mark.parametrize("find", [repeated_lines, host_templates])
def test_of_equal_lines_one_a_batch_meets(tmp_path, find):
    texts = [f"alone {'x' * k}\n" + "the one line that every page has\n" * 500 for k in range(400)]
    rows = documents(texts)
    lines = find is repeated_lines
    config = LineDedupConfig(unit="line", min_words=5) if lines else HostBoilerplateConfig()
    more = (Earlier(),) if lines else ()
    with Watched(tmp_path) as engine:
        cuts = engine.collect(find(engine, read(engine, rows, 40), config, *more))
    gathered = engine.most.pop("line-cuts" if lines else "template-cuts")  # by document
    assert gathered <= 500 and max(engine.most.values()) <= 40, engine.most
    spans = {row["row"]: np.frombuffer(row["cuts"], "<i8").reshape(-1, 2) for row in cuts.to_pylist()}
    assert len(spans) == 400 and all(len(each) == 1 for each in spans.values())
    gone = sorted(int(each[0, 1] - each[0, 0]) // 33 for each in spans.values())
    assert gone == ([499] + [500] * 399 if lines else [500] * 400)


def test_of_a_run_of_words_in_many_documents_a_few_rows_a_batch_meet(tmp_path):
    shared = " ".join(f"word{k}" for k in range(90))
    texts = [f"{chr(97 + k % 26)}{k} before this {shared} after that z{k}" for k in range(3_000)]
    rows = documents(texts)
    found = {}
    for batches in (60, 1):
        with Watched(tmp_path / str(batches)) as engine:
            data = read(engine, rows, batches, parts=batches)
            cuts = repeated_substrings(engine, data, SubstringDedupConfig(), Earlier())
            found[batches] = sorted(engine.collect(cuts).to_pylist(), key=lambda row: row["row"])
        by_row = [engine.most.pop(name) for name in ("substring-cuts", "substring-asked")]
        assert max(by_row) <= 100 and max(engine.most.values()) <= 60, engine.most
    assert found[60] == found[1] and len(found[1]) == 2_999


def test_of_a_band_that_all_documents_share_a_part_meets(tmp_path):
    rows = documents(["one two three four five six seven eight"] * 4_000)
    keys = sorted(rows.column("row").to_pylist())
    with Watched(tmp_path) as engine:
        pairs = candidate_pairs(
            engine, "near", read(engine, rows, 20), MinhashDedupConfig(), Earlier(), most_in_bucket=500
        )
        found = engine.collect(pairs)
    assert max(engine.most.values()) <= 600, engine.most
    pairs = {(row["a"], row["b"]) for row in found.to_pylist()}
    assert len(pairs) == found.num_rows and {(keys[0], key) for key in keys[1:]} <= pairs
    assert all(a < b for a, b in pairs)


def test_all_but_one_of_many_equal_documents_go_as_near_duplicates(tmp_path, monkeypatch):
    rows = documents(["one two three four five six seven eight"] * 3_000)
    found = {}
    for most in (500, 100_000):
        monkeypatch.setattr(near, "candidate_pairs", partial(candidate_pairs, most_in_bucket=most))
        with Watched(tmp_path / str(most)) as engine:
            decided = near.near_duplicates(engine, read(engine, rows, 20), MinhashDedupConfig(), Earlier())
            found[most] = sorted(engine.collect(decided).to_pylist(), key=lambda row: row["row"])
    assert found[500] == found[100_000] and len(found[500]) == 2_999


def edges_of(pairs):
    """Edges between numbered rows; a lesser number is preferred."""
    keys = row_keys(0, [f"{k:032x}" for k in range(1 + max(map(max, pairs)))], [b"x"] * (1 + max(map(max, pairs))))
    keys = keys.to_pylist()
    pairs = sorted({(min(pair), max(pair)) for pair in pairs})
    columns = {"a": [keys[a] for a, _ in pairs], "b": [keys[b] for _, b in pairs]}
    return pa.table({**columns, "jaccard": [0.7 + 0.0001 * (a + b) for a, b in pairs]}, schema=EDGES)


def graphs():
    random = np.random.Generator(np.random.Philox(key=11))
    shuffled = random.permutation(400).tolist()
    yield "star", [(0, k) for k in range(1, 600)]
    yield "last is the hub", [(k, 600) for k in range(600)] + [(k, k + 1) for k in range(0, 598, 7)]
    yield "chain", list(pairwise(shuffled))
    yield "random", [(int(a), int(b)) for a, b in random.integers(0, 300, (900, 2)) if a != b]
    triples = [(3 * k, 3 * k + d) for k in range(100) for d in (1, 2)]
    yield "triangles", triples + [(a + 1, a + 2) for a, _ in triples]


@pytest.mark.parametrize(("name", "pairs"), graphs(), ids=[name for name, _ in graphs()])
@pytest.mark.parametrize("one_task_edges", [0, 40])
def test_a_cluster_too_large_for_a_task_is_decided_as_a_walk_decides(tmp_path, name, pairs, one_task_edges):
    edges, found, decide = edges_of(pairs), [], Decide("minhash_dedup", "near_duplicate", Earlier())
    for number, most in enumerate((10**6, one_task_edges)):
        with Watched(tmp_path / str(number), shuffle_bytes=10**6 if number == 0 else 20_000) as engine:
            data = engine.read([Rows(edges.slice(k * 100, 100), 50, 20_000) for k in range(12)], EDGES)
            decided = engine.collect(resolve(engine, "near", data, decide, one_task_edges=most))
            found.append(sorted(decided.to_pylist(), key=lambda row: row["row"]))
    assert found[0] == found[1] and found[0]
    sizes = {stage: size for stage, size in engine.most.items() if not stage.endswith("-walk")}
    assert max(sizes.values()) <= max(40, one_task_edges), sizes


def test_pairs_are_those_of_one_bucket_when_it_is_small_enough(tmp_path):
    rows = documents([f"one two three four five six seven eight {k // 5}" for k in range(200)])
    found = []
    for most in (10, 10**6):
        with Watched(tmp_path / str(most)) as engine:
            pairs = candidate_pairs(
                engine, "near", read(engine, rows, 9), MinhashDedupConfig(), Earlier(), most_in_bucket=most
            )
            found.append(engine.collect(pairs))
    assert all(each.schema.equals(PAIRS) for each in found)
    small = {(row["a"], row["b"]) for row in found[1].to_pylist()}
    assert len(small) == found[1].num_rows > 200
