import io

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.trace.payload import read_collected
from headwater.data.readers import arrow_stream, parquet
from headwater.data.readers.options import WHOLE, Options, Piece

OPTIONS = Options("parquet", url="url")


def read(module, data, start=0, stop=WHOLE, options=OPTIONS):
    return list(module.read(io.BytesIO(data), Piece("a", len(data), start, stop), options))


def records(count=40):
    return [
        {"text": f"Row {i} is prose.", "url": f"http://x/{i}", "extra": {"lang": "en", "n": i}} for i in range(count)
    ]


def arrow_bytes(records, *, file=False):
    table = pa.Table.from_pylist(records)
    sink = pa.BufferOutputStream()
    with (ipc.new_file if file else ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("partition_bytes", [1000, 2000, 3000, 10**6])
def test_any_cut_gives_the_same_rows(run, tmp_path, make, partition_bytes):
    _, parquet_bytes = make
    (tmp_path / "a.parquet").write_bytes(parquet_bytes(records(), row_group_size=6))
    (tmp_path / "b.parquet").write_bytes(parquet_bytes(records(3)))
    run.collect(format="parquet", uris=[f"{tmp_path}/*.parquet"], url="url", metadata=["extra.lang"])
    assert (len(run.units(partition_bytes)) > 1) == (partition_bytes < 10**6)
    rows = run.rows(partition_bytes)
    assert rows == run.rows() and [row["warc_offset"] for row in rows] == [*range(40), *range(3)]
    assert [row["payload"].decode() for row in rows[:40]] == [record["text"] for record in records()]
    assert rows[3]["verdicts"][0]["detail"] == '{"extra.lang": "en"}'


@pytest.mark.parametrize("kind", ["parquet", "stream", "file"])
def test_a_hugging_face_data_set_is_read_by_the_names_of_its_files(run, tmp_path, make, kind):
    _, parquet_bytes = make
    data = parquet_bytes(records()) if kind == "parquet" else arrow_bytes(records(), file=kind == "file")
    name = "data-00000-of-00001" + (".parquet" if kind == "parquet" else ".arrow")
    (tmp_path / name).write_bytes(data)
    run.collect(format="hf", uris=[f"{tmp_path}/{name}"], id="extra.n")
    rows = run.rows()
    assert [(row["payload"].decode(), row["url"]) for row in rows] == [
        (r["text"], str(i)) for i, r in enumerate(records())
    ]
    assert read_collected(run.layout.raw("s"), name, 17, rows[17]["payload_sha256"]) == rows[17]["payload"]


@pytest.mark.parametrize(
    ("column", "faults"),
    [
        (pa.array(["a", None, "b"]), ["", "no value in column text", ""]),
        (pa.array([1, 2, 3]), ["column text is int, expected str"] * 3),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["", "", ""]),
        (pa.array([b"a", b"\xff", b""]), ["", "", ""]),
        (pa.array(["a", "b", "c"], pa.large_string()), ["", "", ""]),
    ],
)
def test_values_of_another_type_are_told(column, faults):
    for module in (parquet, arrow_stream):
        sink = pa.BufferOutputStream()
        table = pa.table({"text": column})
        if module is parquet:
            pq.write_table(table, sink)
        else:
            with ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
        items = read(module, sink.getvalue().to_pybytes())
        assert [item.fault for item in items] == faults
        assert [item.place for item in items] == [0, 1, 2]


def test_strings_that_are_not_utf8_do_not_stop_the_file():
    bad = pa.array([b"good", b"\xff\xfe"]).view(pa.string())
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": pa.array(["a", "b"]), "url": bad}), sink)
    first, second = read(parquet, sink.getvalue().to_pybytes())
    assert first.url == "good" and not first.fault
    assert second.fault.startswith("the row cannot be read: UnicodeDecodeError")


def test_a_file_without_the_column_is_one_fault_a_row_group(make):
    _, parquet_bytes = make
    items = read(parquet, parquet_bytes([{"body": "a"}] * 5, row_group_size=2), options=Options("parquet"))
    assert [(item.place, item.fault) for item in items] == [
        (0, "no column text in 2 rows"), (2, "no column text in 2 rows"), (4, "no column text in 1 rows")
    ]  # fmt: skip


@pytest.mark.parametrize("module", [parquet, arrow_stream])
@given(data=st.binary(max_size=64), place=st.integers(0, 10**6), cut=st.booleans())
def test_damage_is_a_fault_and_no_exception(module, data, place, cut):
    good = PARQUET if module is parquet else ARROW
    place %= len(good)
    damaged = good[:place] if cut else good[:place] + data + good[place + len(data) :]
    for content in (data, damaged):
        items = read(module, content)
        assert all(bool(item.fault) or item.content_type == "text/plain" for item in items)
        pieces = module.cut(io.BytesIO(content), "a", len(content), 10)
        assert [item for start, stop in pieces for item in read(module, content, start, stop)] == items
        assert items or content not in (data, good[:place])


def _parquet():
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(records(20)), sink, row_group_size=5)
    return sink.getvalue().to_pybytes()


PARQUET, ARROW = _parquet(), arrow_bytes(records(20))
