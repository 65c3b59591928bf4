import gzip
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import ConfigError
from headwater.core.trace.payload import read_collected
from headwater.data.readers import json_array
from headwater.data.readers.options import WHOLE, Options, Piece

OPTIONS = Options("json", record=True)
ANY = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(st.sampled_from('"\\{}[],:aé⟦'), max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from('ab"\\]'), inner, max_size=3)),
    max_leaves=8,
)
RECORDS = st.lists(st.dictionaries(st.sampled_from(["x", "y", '"']), ANY, max_size=3), max_size=5)


def read(data, name="a.json"):
    return list(json_array.read(io.BytesIO(data), Piece(name, len(data), 0, WHOLE), OPTIONS))


@given(RECORDS, st.sampled_from([None, 1, 4]), st.booleans(), st.booleans())
def test_every_record_comes_out_as_it_is_written(records, indent, ascii_only, packed):
    data = json.dumps(records, indent=indent, ensure_ascii=ascii_only).encode()
    name, stored = ("a.json.gz", gzip.compress(data)) if packed else ("a.json", data)
    items = read(stored, name)
    assert [json.loads(item.payload) for item in items] == records
    for item in items:
        assert data[item.place :].startswith(item.payload) and item.content_type == "application/json"
        assert json_array.record(io.BytesIO(stored), name, item.place, "", OPTIONS) == item.payload


@given(RECORDS, st.integers(1, 20))
def test_chunks_may_end_anywhere(records, size):
    data = json.dumps(records).encode()
    chunks = [data[place : place + size] for place in range(0, len(data), size)]
    found = [element for _, element in json_array._elements(iter(chunks))]
    assert [json.loads(element) for element in found] == records


def test_json_lines_under_that_name_are_read_as_lines():
    assert [item.place for item in read(b'{"a": 1}\n{"a": 2}\n')] == [0, 9]
    assert json_array.record(io.BytesIO(b'{"a": 1}\n{"a": 2}\n'), "a.json", 9, "", OPTIONS) == b'{"a": 2}'


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        (b"[1, {}]", ["the element of the list is a JSON int, not an object", ""]),
        (b'[{"a": 1}, {"b": ', ["", "the file ends inside its list"]),
        (b"[{]", ["the file ends inside its list"]), (b"[", ["the file ends inside its list"]),
        (b"[{a}, {}]", ["the element of the list is not JSON", ""]),
        (b"[]", []), (b"  [ ] ", []), (b'\xef\xbb\xbf[{"a": 1}]', [""]), (b"[{},]", [""]), (b"", []),
        (b'[{"a": "\xff"}]', ["the element of the list is not UTF-8"]),
    ],
)  # fmt: skip
def test_damage_is_set_aside(data, faults):
    found = [item.fault for item in read(data)]
    assert len(found) == len(faults) and all(
        a.startswith(b) if b else not a for a, b in zip(found, faults, strict=True)
    )


def test_a_whole_record_of_every_format_is_json_with_all_columns(run, other_run, tmp_path, make):
    json_lines, parquet_bytes = make
    records = [{"question": f"q{i}", "tags": ["a", "b"], "meta": {"n": i}, "image": None} for i in range(5)]
    (tmp_path / "a.json").write_text(json.dumps(records, indent=1))
    (tmp_path / "a.jsonl").write_bytes(json_lines(records))
    (tmp_path / "a.parquet").write_bytes(parquet_bytes([{**each, "image": b"123"} for each in records]))
    for format, name in (("json", "a.json"), ("jsonl", "a.jsonl"), ("hf", "a.json"), ("parquet", "a.parquet")):
        run.collect(format=format, record=True, uris=[f"{tmp_path}/{name}"], metadata=["meta.n"])
        rows = run.rows()
        found = [json.loads(row["payload"]) for row in rows]
        assert [{**each, "image": None} for each in found] == records
        assert {row["content_type"] for row in rows} == {"application/json"}
        assert rows[3]["verdicts"][0]["detail"] == '{"meta.n": 3}'
        folder = run.layout.raw("s")
        assert read_collected(folder, name, rows[3]["warc_offset"], rows[3]["payload_sha256"]) == rows[3]["payload"]
    assert found[0]["image"] == "3 bytes"


def test_only_formats_with_records_have_whole_ones(run, tmp_path):
    with pytest.raises(ConfigError, match="files of format html have no records"):
        run.collect(format="html", record=True, uris=["x"])
