"""Lines and runs of words against an index: cut as if the earlier documents were in the same run, and preferred."""

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.core.config import load_section
from headwater.core.documents import DOCUMENTS
from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.data.config import DocumentsConfig
from headwater.data.documents import make_documents
from headwater.data.earlier import Earlier
from headwater.data.engines.local import LocalEngine
from headwater.data.index import CutFrom, FirstOfEach, _index_file, make_index
from headwater.data.operators.apply_cuts import LEFT_ALONE
from headwater.data.operators.line_dedup import LineDedupConfig
from headwater.data.operators.substring_dedup import SubstringDedupConfig
from headwater.data.repeated_lines import PLACES, Lines, repeated_lines
from headwater.data.row_keys import row_keys
from headwater.data.rows import ALIVE
from headwater.data.substrings import ANCHORS, AnchorRows, Passages, repeated_substrings

LINES = LineDedupConfig(unit="line", min_words=2)
RUNS = SubstringDedupConfig(min_tokens=8)


@dataclass(frozen=True)
class Rows:
    table: pa.Table
    size: int = 1_000_000

    def __call__(self):
        yield from self.table.to_batches(max_chunksize=5)


def ids(count, first=0):
    """Ids in no order."""
    random = np.random.Generator(np.random.Philox(key=[7, first]))
    return [random.bytes(16).hex() for _ in range(count)]


def alive(texts, identifiers, rank, places):
    same = {name: [value] * len(texts) for name, value in (("source", "web"), ("content_type", "text/html"))}
    columns = {"row": row_keys(rank, identifiers, places), "text": texts, "url": [f"http://x/{k}" for k in identifiers]}
    return pa.table({**columns, **same}).select(ALIVE.names).cast(ALIVE)


def documents(path, texts, identifiers, left_alone=()):
    """A file of documents."""
    rows = [
        {
            "id": identifier, "source": "web", "url": "u", "warc_file": "f", "warc_offset": 0, "payload_sha256": "",
            "text": text, "language": "en", "language_score": 1.0, "text_bytes": len(text), "split": "train",
            "verdicts": [{"operator": step, "outcome": "keep", "reason": "", "detail": f"{LEFT_ALONE}text/x-python"}
                         for step in ("line_dedup", "substring_dedup") if number in left_alone],
        }
        for number, (text, identifier) in enumerate(zip(texts, identifiers, strict=True))
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENTS), path)


def index(folder, **given):
    """An index of documents."""
    folder.mkdir()
    documents(folder / "documents.parquet", **given)
    functions = {
        "lines": CutFrom("line_dedup", FirstOfEach(Lines(LINES), PLACES)),
        "anchors": CutFrom("substring_dedup", FirstOfEach(AnchorRows(RUNS), ANCHORS)),
        "passages": CutFrom("substring_dedup", Passages()),
    }
    (folder / "documents.parquet").rename(folder / "part-00000.parquet")
    _index_file(str(folder / "part-00000.parquet"), str(folder), functions)
    return Earlier(("old",), (str(folder),))


def texts_with_repeats(count, seed):
    """Texts of lines that are put together of a few runs of words, from any place in them."""
    random = np.random.Generator(np.random.Philox(key=seed))
    runs = [[f"w{int(k)}" for k in np.random.Generator(np.random.Philox(key=r)).integers(0, 60, 30)] for r in range(8)]
    texts = []
    for _ in range(count):
        lines = []
        for k in random.integers(0, len(runs), int(random.integers(1, 6))).tolist():
            start, size = int(random.integers(0, 20)), int(random.integers(3, 25))
            lines.append(" ".join(runs[k][start : start + size]))
        texts.append("\n".join(lines))
    return texts


@pytest.mark.parametrize(("find", "config"), [(repeated_lines, LINES), (repeated_substrings, RUNS)])
@pytest.mark.parametrize("shuffle_bytes", [10**9, 300_000])
def test_what_an_index_has_is_cut_as_if_it_were_in_the_same_run(tmp_path, find, config, shuffle_bytes):
    old, new = texts_with_repeats(30, 1), texts_with_repeats(40, 2)
    old_ids, new_ids = ids(len(old)), ids(len(new), first=1)
    earlier = index(tmp_path / "index", texts=old, identifiers=old_ids)
    before = alive(old, old_ids, 0, [b"web"] * len(old))  # as the index makes its keys
    now = alive(new, new_ids, 1, [str(k).encode() for k in range(len(new))])
    with LocalEngine(tmp_path / "a", shuffle_bytes=shuffle_bytes) as engine:
        data = engine.read([Rows(now.slice(17)), Rows(now.slice(0, 17))], ALIVE)
        found = {row["row"]: row for row in engine.collect(find(engine, data, config, earlier)).to_pylist()}
    with LocalEngine(tmp_path / "b", shuffle_bytes=shuffle_bytes) as engine:
        data = engine.read([Rows(now), Rows(before)], ALIVE)
        whole = engine.collect(find(engine, data, config, Earlier())).to_pylist()
    own = set(now.column("row").to_pylist())
    assert {row: each["cuts"] for row, each in found.items()} == {
        each["row"]: each["cuts"] for each in whole if each["row"] in own
    }
    with LocalEngine(tmp_path / "c", shuffle_bytes=shuffle_bytes) as engine:
        alone = engine.collect(find(engine, engine.read([Rows(now)], ALIVE), config, Earlier())).to_pylist()
    without = {each["row"]: each["cuts"] for each in alone}
    more = [each for row, each in found.items() if each["cuts"] != without.get(row)]
    assert more and all(each["earlier"] for each in more)
    for each in found.values():
        known = json.loads(each["earlier"] or "{}")
        assert set(known) <= {"old"}
        for told in known.values():
            assert 1 <= told["spans"] <= len(each["cuts"]) // 16 and set(told["documents"]) <= set(old_ids)


def test_what_was_left_alone_is_compared_with_nothing(tmp_path):
    text = "one two three four five six seven eight nine ten"
    for number, left_alone in enumerate(((), (0,))):
        earlier = index(tmp_path / f"index-{number}", texts=[text], identifiers=ids(1), left_alone=left_alone)
        rows = alive([f"{text}\nand more"], ids(1, first=1), 1, [b"x"])
        for find, config in ((repeated_lines, LINES), (repeated_substrings, RUNS)):
            with LocalEngine(tmp_path / f"{number}-{find.__name__}") as engine:
                data = engine.read([Rows(rows)], ALIVE)
                assert engine.collect(find(engine, data, config, earlier)).num_rows == (0 if left_alone else 1)


ON = ("documents.line_dedup={unit: line, min_words: 6, min_characters: 20}",
      "documents.substring_dedup={min_tokens: 12, min_characters: 20}", "documents.minhash_dedup=null",
      "documents.allow_empty_sources=true")  # fmt: skip


def make(run, recipe, *overrides):
    return make_documents(RunLayout(run), load_section("documents", DocumentsConfig, recipe, overrides))


def kept(run):
    files = sorted((run / "documents").glob("part-*.parquet"))
    return {row["url"]: row for path in files for row in pq.read_table(path).to_pylist()}


@pytest.mark.slow
def test_a_later_crawl_is_cut_against_an_index_and_names_it(tiny, tmp_path, warc):
    member, page, prose, _ = warc
    pages = [member(f"http://w/{i}", page(prose(i)), "text/html", 200) for i in range(6)]
    first, recipe = tiny("first", web=pages)
    make(first, recipe, *ON)
    config = load_section("documents", DocumentsConfig, recipe, ON)
    make_index(RunLayout(first), config, tmp_path / "index")
    old = kept(first)

    lines = prose(2).split("\n")
    run_of_words = " ".join(prose(4).split()[20:50])
    new = {
        "http://new/line": prose(40) + "\n" + lines[3] + "\n" + prose(41),
        "http://new/run": prose(42) + "\nPeople say that " + run_of_words + " and no more.\n" + prose(43),
        "http://new/other": prose(44),
    }
    runs, outcomes = {}, []
    for name, engine in (("second", "{workers: 1}"), ("third", "{workers: 2, partition_bytes: 1000}")):
        run, _ = tiny(name, web=[member(url, page(text), "text/html", 200) for url, text in new.items()])
        options = (f"documents.earlier={{old: {tmp_path / 'index'}}}", f"documents.engine={engine}")
        outcomes.append(make(run, recipe, *ON, *options))
        runs = kept(run)
    assert outcomes[0].manifest.digest == outcomes[1].manifest.digest
    said = {url: {v["operator"]: v for v in row["verdicts"]} for url, row in runs.items()}
    line, words = said["http://new/line"]["line_dedup"], said["http://new/run"]["substring_dedup"]
    assert f"1 of the spans in old: {old['http://w/2']['id']}" in line["detail"]
    assert f"1 of the spans in old: {old['http://w/4']['id']}" in words["detail"]
    assert lines[3] not in runs["http://new/line"]["text"] and run_of_words not in runs["http://new/run"]["text"]
    assert said["http://new/other"]["substring_dedup"]["outcome"] == "keep"
    web = {row["operator"]: row for row in outcomes[0].result["sources"]["web"]["operators"]}
    assert "spans_in:old" in json.dumps(web["line_dedup"]) and "spans_in:old" in json.dumps(web["substring_dedup"])


@pytest.mark.slow
@pytest.mark.parametrize("other", ["documents.substring_dedup.min_tokens=13", "documents.line_dedup.unit=paragraph"])
def test_an_index_made_with_other_options_is_refused(tiny, tmp_path, other):
    run, recipe = tiny()
    make(run, recipe, *ON)
    make_index(RunLayout(run), load_section("documents", DocumentsConfig, recipe, ON), tmp_path / "index")
    with pytest.raises(ConfigError, match=rf"documents\.earlier\.old .*{other.split('.')[1]}"):
        make(tiny("b")[0], recipe, *ON, other, f"documents.earlier={{old: {tmp_path / 'index'}}}")
    make_index(RunLayout(run), load_section("documents", DocumentsConfig, recipe, ()), tmp_path / "without")
    with pytest.raises(ConfigError, match="no index that fits"):
        make(tiny("c")[0], recipe, *ON, f"documents.earlier={{old: {tmp_path / 'without'}}}")
