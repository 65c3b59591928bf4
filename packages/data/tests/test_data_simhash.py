"""SimHash: fingerprints by their definition, blocks that miss no pair, documents removed only when truly similar."""

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.config import load_section
from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.data.config import DocumentsConfig
from headwater.data.documents import make_documents
from headwater.data.earlier import Earlier
from headwater.data.engines.local import LocalEngine
from headwater.data.index import make_index
from headwater.data.near import near_duplicates
from headwater.data.near_keys import Blocks
from headwater.data.near_pairs import Choose, WithinBuckets
from headwater.data.operators.minhash_dedup import jaccard, shingle_sets
from headwater.data.operators.simhash_dedup import SimhashDedupConfig, block_keys, distances, fingerprints
from headwater.data.row_keys import id_of, row_keys
from headwater.data.rows import ALIVE

ON = ("documents.minhash_dedup=null", "documents.simhash_dedup={max_distance: 6}")


@dataclass(frozen=True)
class Given:
    batch: pa.RecordBatch
    size: int = 1_000_000

    def __call__(self):
        yield self.batch.select(ALIVE.names)


@given(st.lists(st.sampled_from(["one", "two", "three", "日本"]), max_size=12).map(" ".join))
def test_a_bit_is_what_most_shingles_have_there(text):
    """With one word a shingle, the hash of each is at hand: that of a text of it alone."""
    words = text.replace("日本", "日 本").split()
    hashes = [int(shingle_sets([word], 1)[0][0]) for word in words]
    expected = sum((2 * sum(h >> bit & 1 for h in hashes) > len(hashes)) << bit for bit in range(64))
    found, has_words = fingerprints(["other text", text], 1)
    assert (int(found[1]), bool(has_words[1])) == (expected, bool(words))


@given(st.integers(0, 2**64 - 1), st.integers(0, 8), st.data())
def test_fingerprints_within_the_distance_share_a_key(value, max_distance, data):
    bits = data.draw(st.sets(st.integers(0, 63), max_size=max_distance))
    pair = np.array([value, value ^ sum(1 << bit for bit in bits)], np.uint64)
    keys = block_keys(pair, max_distance)
    assert keys.shape == (2, SimhashDedupConfig(max_distance=max_distance).keys)
    assert (keys[0] == keys[1]).any()
    assert distances(pair[:1], pair[1:]).tolist() == [len(bits)]


def test_a_key_is_of_two_blocks():
    """A pair that differs in three blocks of five shares one key of ten, one that differs in four none."""
    pair = np.array([0, 1 | 1 << 20 | 1 << 30, 1 | 1 << 20 | 1 << 30 | 1 << 63], np.uint64)
    keys = block_keys(pair, 3)
    assert [int((keys[0] == keys[k]).sum()) for k in (1, 2)] == [1, 0]
    assert len(set(keys[0].tolist())) == 10


def test_candidates_are_within_the_distance():
    prints = np.array([0, 0b111, 0b1111], np.int64)
    rows = pa.array([bytes([k]) for k in range(3)], pa.binary())
    groups = pa.table({"key": pa.array([7] * 3), "row": rows, "fingerprint": pa.array(prints)})
    pairs = WithinBuckets(64, Choose(3, Earlier()))(groups).to_pylist()
    assert [(pair["a"], pair["b"]) for pair in pairs] == [(b"\0", b"\1"), (b"\1", b"\2")]


def test_a_text_without_words_has_no_key(rows):
    assert Blocks(SimhashDedupConfig())(rows(["", "…"]))["blocks"].num_rows == 0


@pytest.mark.parametrize("shuffle_bytes", [10**9, 300_000])
def test_near_copies_go_and_name_what_stays(tmp_path, rows, warc, shuffle_bytes):
    _, _, prose, _ = warc
    texts = [prose(k, 40) for k in range(12)]
    texts += [text + " One more line at the end." for text in texts[:6]]
    batch = rows(texts)
    keys = row_keys(0, batch.column("id").to_pylist(), [b""] * len(texts))
    batch = batch.set_column(batch.schema.get_field_index("row"), batch.schema.field("row"), keys)
    parts = [Given(batch.slice(7)), Given(batch.slice(0, 7))]
    config = SimhashDedupConfig(max_distance=8, min_jaccard=0.9)
    with LocalEngine(tmp_path, shuffle_bytes=shuffle_bytes) as engine:
        found = engine.collect(near_duplicates(engine, engine.read(parts, ALIVE), config, Earlier())).to_pylist()
    sets = shingle_sets(texts, 5)
    names = {id_of(key): place for place, key in enumerate(keys.to_pylist())}
    gone = {names[id_of(row["row"])]: json.loads(row["detail"]) for row in found}
    assert sorted(gone) == list(range(12, 18))
    for place, detail in gone.items():
        assert names[detail["kept"]] == place - 12
        assert detail["jaccard"] == round(jaccard(sets[place], sets[place - 12]), 4) >= 0.9
    assert {(row["operator"], row["reason"]) for row in found} == {("simhash_dedup", "near_duplicate")}


def load(recipe, *options):
    return load_section("documents", DocumentsConfig, recipe, options)


def test_only_one_search_for_near_duplicates_can_be_on(tiny):
    _, recipe = tiny()
    with pytest.raises(ConfigError, match="both look for near-duplicates"):
        load(recipe, "documents.simhash_dedup={}")
    assert load(recipe, *ON).near_dedup == SimhashDedupConfig(max_distance=6)


@pytest.mark.slow
def test_an_index_finds_near_copies_by_simhash_and_fits_no_other_options(tiny, tmp_path, warc):
    member, page, prose, _ = warc
    pages = {f"http://w/{k}": prose(k, 40) for k in range(5)}
    first, recipe = tiny("first", web=[member(u, page(t), "text/html", 200) for u, t in pages.items()])
    make_documents(RunLayout(first), load(recipe, *ON))
    make_index(RunLayout(first), load(recipe, *ON), tmp_path / "index")
    texts = {"http://new/near": prose(2, 40) + " with one more line at its end", "http://new/other": prose(50, 40)}
    second, _ = tiny("second", web=[member(u, page(t), "text/html", 200) for u, t in texts.items()])
    options = (*ON, f"documents.earlier={{old: {tmp_path / 'index'}}}", "documents.allow_empty_sources=true")
    outcome = make_documents(RunLayout(second), load(recipe, *options))
    steps = {step["operator"]: step for step in outcome.result["sources"]["web"]["operators"]}
    assert steps["simhash_dedup"]["rejected"] == {"near_duplicate": 1}
    with pytest.raises(ConfigError, match=r"documents\.earlier\.old .*simhash_dedup"):
        make_documents(RunLayout(second), load(recipe, *options, "documents.simhash_dedup.ngram=3"))
