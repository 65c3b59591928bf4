import bz2
import gzip
import io
import json

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import ConfigError
from headwater.core.trace.payload import read_collected
from headwater.data.readers import jsonl
from headwater.data.readers.options import WHOLE, Options, Piece

PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstd.compress, ".bz2": bz2.compress}
OPTIONS = Options("jsonl")


def read(data, start=0, stop=WHOLE, name="a.jsonl", options=OPTIONS):
    return list(jsonl.read(io.BytesIO(data), Piece(name, len(data), start, stop), options))


def records(count=30):
    return [
        {"text": f"Line {i} of prose.\nÄ second line.", "url": f"http://x/{i}", "meta": {"year": i}}
        for i in range(count)
    ]


@pytest.mark.parametrize("suffix", PACK)
def test_every_compression_gives_the_same_rows_but_for_the_name(run, tmp_path, make, suffix):
    json_lines, _ = make
    (tmp_path / f"a.jsonl{suffix}").write_bytes(PACK[suffix](json_lines(records())))
    run.collect(format="jsonl", uris=[f"{tmp_path}/*.jsonl*"], url="url", metadata=["meta.year"])
    rows = run.rows()
    assert [row["payload"].decode() for row in rows] == [record["text"] for record in records()]
    assert [row["url"] for row in rows] == [f"http://x/{i}" for i in range(30)]
    assert rows[7]["verdicts"] == [
        {"operator": "metadata", "outcome": "keep", "reason": "", "detail": '{"meta.year": 7}'}
    ]
    assert {row["warc_file"] for row in rows} == {f"a.jsonl{suffix}"}
    line = json.dumps(records()[7]).encode()
    folder = run.layout.raw("s")
    assert read_collected(folder, rows[7]["warc_file"], rows[7]["warc_offset"], rows[7]["payload_sha256"]) == line


@pytest.mark.parametrize("partition_bytes", [1000, 1001, 1333, 5000, 10**6])
def test_any_cut_gives_the_same_rows(run, tmp_path, make, partition_bytes):
    json_lines, _ = make
    for name in ("a", "b/c"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / f"{name}.jsonl").write_bytes(
            json_lines(records(60)) + b'{"text": bad}\n' + json_lines(records(3))
        )
    run.collect(format="jsonl", uris=[f"{tmp_path}/in/**/*.jsonl"])
    assert len(run.units(partition_bytes)) == 1 or partition_bytes <= 5000
    assert run.rows(partition_bytes) == run.rows()
    assert len(run.rows()) == 2 * 64


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_cut_anywhere_give_the_same_items(data, size):
    whole = read(data)
    cut = [
        item
        for start, stop in jsonl.cut(io.BytesIO(data), "a.jsonl", len(data), size)
        for item in read(data, start, stop)
    ]
    assert cut == whole
    assert all(item.fault for item in whole) or b"{" in data


PARTS = [
    b"\n", b"\r\n", b'{"text":"a"}', b'{"text":1}', b'{"text":null}', b"[]", b" ", b"\xff", b"{", b"[" * 2000,
    b'{"text":"\\ud800"}', b'{"url":[],"text":"b"}', b"\xef\xbb\xbf", b"9" * 5000,
]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=12))
def test_every_line_is_a_record_or_a_fault(parts):
    data = b"".join(parts)
    items = read(data, options=Options("jsonl", url="url"))
    assert len(items) <= len(data.split(b"\n"))
    for item in items:
        line = data[item.place :].split(b"\n")[0]
        assert bool(item.fault) != bool(item.payload)
        if not item.fault:
            assert json.loads(line.removeprefix(b"\xef\xbb\xbf"))["text"].encode() == item.payload


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"text": "a"', "the line is not JSON: Expecting ',' delimiter at its character 12"),
        (b'{"text": "\xff"}', "the line is not UTF-8: invalid start byte at its byte 10"),
        (b'{"body": "a"}', "no column text"),
        (b'{"text": null}', "no value in column text"),
        (b'{"text": 3}', "column text is int, expected str"),
        (b'["a"]', "the line is a JSON list, not an object"),
        (b'{"text": "\\ud800"}', "half of a surrogate pair, which no text has: '\\ud800'"),
        (b'{"text": "a", "url": {}}', "column url is dict, expected str"),
    ],
)
def test_a_bad_line_is_told_with_its_place(line, fault):
    items = read(b'{"text": "before"}\n' + line + b'\n{"text": "after"}\n', options=Options("jsonl", url="url"))
    assert [item.payload for item in items] == [b"before", b"", b"after"]
    assert items[1].fault == fault and items[1].place == 19


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2"])
def test_a_truncated_file_gives_what_is_there_and_says_where_it_ends(suffix, make):
    json_lines, _ = make
    data = b"".join(PACK[suffix](json_lines([record])) for record in records(5))
    items = read(data[:-40], name=f"a.jsonl{suffix}")
    assert [bool(item.fault) for item in items] == [False] * 4 + [True]
    assert "ends inside" in items[-1].fault
    assert items[-1].place == sum(len(json_lines([record])) for record in records(4))


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2"])
@given(data=st.binary(max_size=200), place=st.integers(0, 400))
def test_damage_in_a_compressed_file_is_a_fault(suffix, data, place):
    good = PACK[suffix](b'{"text": "a"}\n' * 50)
    for damaged in (data, good[: place % len(good)] + data + good[place % len(good) :], good + data):
        items = read(damaged, name=f"a.jsonl{suffix}")
        assert items and all(item.fault or item.payload for item in items)


def test_a_bomb_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(jsonl, "MAX_RECORD_BYTES", 10_000_000)
    for suffix in (".gz", ".zst", ".bz2"):
        data = PACK[suffix](b"0" * 60_000_000) + PACK[suffix](b'\n{"text": "a"}\n')
        items = read(data, name=f"a.jsonl{suffix}")
        assert items[0].fault == "a line of 60,000,000 bytes, at most 10,000,000" and items[1].payload == b"a"


def test_an_id_stands_for_the_url(run, tmp_path, make):
    json_lines, _ = make
    (tmp_path / "a.jsonl").write_bytes(
        json_lines([{"text": "a", "n": 7}, {"text": "a", "n": 7, "url": "u"}, {"text": "a"}])
    )
    run.collect(format="jsonl", uris=[f"{tmp_path}/a.jsonl"], url="url", id="n")
    assert [row["url"] for row in run.rows()] == ["7", "u", ""]
    assert len({row["id"] for row in run.rows()}) == 3


def test_documents_of_bad_lines_are_set_aside(run, tmp_path, make):
    json_lines, _ = make
    (tmp_path / "a.jsonl").write_bytes(json_lines(records(3)) + b"oh\n" + b'{"text": ""}\n')
    run.collect(format="jsonl", uris=[f"{tmp_path}/a.jsonl"], metadata=["meta"])
    _, kept, rejected = run.documents()
    assert [row["text"] for row in sorted(kept, key=lambda row: row["warc_offset"])] == [
        each["text"] for each in records(3)
    ]
    assert {(row["operator"], row["reason"]) for row in rejected} == {("read", "bad_record"), ("extract", "too_short")}
    assert kept[0]["verdicts"][0]["operator"] == "metadata"


def test_html_in_a_column_becomes_text(run, tmp_path, make, warc):
    json_lines, _ = make
    _, page, prose, _ = warc
    (tmp_path / "a.jsonl").write_bytes(json_lines([{"html": page(prose(1)).decode()}]))
    run.collect(format="jsonl", uris=[f"{tmp_path}/a.jsonl"], text="html", content_type="text/html")
    _, kept, _ = run.documents()
    assert "<p>" not in kept[0]["text"] and prose(1).split("\n")[3] in kept[0]["text"]


def test_sources_without_files_are_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="no file matches"):
        run.collect(format="jsonl", uris=[f"{tmp_path}/*.jsonl"])
    with pytest.raises(ConfigError, match="uris"):
        run.collect(format="jsonl")
    with pytest.raises(ConfigError, match="format"):
        run.collect(format="doc", uris=["x"])
