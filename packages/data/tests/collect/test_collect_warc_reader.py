"""The reader against every kind of damage that a WARC file comes with."""

import gzip
import hashlib
import io
import re
import zlib
from pathlib import Path

import brotli
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from headwater.core.errors import DataError
from headwater.data.collect import warc_framing
from headwater.data.collect.warc_reader import BadRecord, Record, read_record_at, read_records


def http_record(number: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """One plain response record, written by warcio so that the reader is not tested against its own writer."""
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=False, warc_version="1.1")
    http = StatusAndHeaders(
        "200 OK", [("Content-Type", "text/html; charset=ISO-8859-1"), *headers], protocol="HTTP/1.1"
    )
    url = f"http://site.test/{number}"
    writer.write_record(writer.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=http))
    return out.getvalue()


RECORDS = [http_record(number, b"<p>page %d</p>" % number * 50) for number in range(4)]
MEMBERS = [gzip.compress(record, mtime=0) for record in RECORDS]


def read(tmp_path: Path, data: bytes, name: str = "a.warc.gz") -> list[Record | BadRecord]:
    path = tmp_path / name
    path.write_bytes(data)
    return list(read_records(path))


def urls(items: list[Record | BadRecord]) -> list[str | None]:
    return [item.url[-1] if isinstance(item, Record) else None for item in items]


def bad(items: list[Record | BadRecord]) -> list[BadRecord]:
    return [item for item in items if isinstance(item, BadRecord)]


def test_fields_and_offsets(tmp_path):
    items = read(tmp_path, b"".join(MEMBERS))
    assert urls(items) == ["0", "1", "2", "3"]
    record = items[2]
    assert isinstance(record, Record)
    assert record.payload == b"<p>page 2</p>" * 50
    assert record.payload_sha256 == hashlib.sha256(record.payload).hexdigest()
    assert (record.content_type, record.charset, record.http_status) == ("text/html", "iso-8859-1", 200)
    assert record.offset == len(MEMBERS[0]) + len(MEMBERS[1])
    assert read_record_at(tmp_path / "a.warc.gz", record.offset) == record


def test_file_name_is_relative_to_the_root(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.warc.gz").write_bytes(MEMBERS[0])
    (record,) = read_records(tmp_path / "sub/b.warc.gz", root=tmp_path)
    assert isinstance(record, Record) and record.warc_file == "sub/b.warc.gz"


def test_corrupt_member_is_set_aside_and_reading_goes_on(tmp_path):
    damaged = bytearray(MEMBERS[1])
    damaged[len(damaged) // 2] ^= 0xFF
    items = read(tmp_path, MEMBERS[0] + bytes(damaged) + MEMBERS[2] + MEMBERS[3])
    assert urls(items) == ["0", None, "2", "3"]
    (place,) = bad(items)
    assert (place.file, place.offset) == ("a.warc.gz", len(MEMBERS[0]))
    assert "corrupt gzip member" in place.reason


@pytest.mark.parametrize("position", [0, 1, 2, 8, 12, -1, -6])
def test_any_flipped_byte_of_a_member_costs_at_most_that_member(tmp_path, position):
    damaged = bytearray(MEMBERS[1])
    damaged[position] ^= 0xFF
    items = read(tmp_path, MEMBERS[0] + bytes(damaged) + MEMBERS[2])
    found = [url for url in urls(items) if url is not None]
    # Byte 8 (XFL) carries no data: that member is still whole.
    assert found == (["0", "1", "2"] if position == 8 else ["0", "2"])


@pytest.mark.parametrize("lost", [1, 4, 9, 30, 100])
def test_truncated_file_keeps_every_whole_record(tmp_path, lost):
    items = read(tmp_path, b"".join(MEMBERS)[:-lost])
    assert urls(items) == ["0", "1", "2", None]
    (place,) = bad(items)
    assert place.offset == sum(map(len, MEMBERS[:3])) and "truncated" in place.reason


@pytest.mark.parametrize("length", [b"9", b"99999"])
@pytest.mark.parametrize("plain", [False, True])
def test_lying_content_length_does_not_swallow_the_next_record(tmp_path, length, plain):
    liar = re.sub(rb"Content-Length: \d+", b"Content-Length: " + length, RECORDS[1], count=1)
    if plain:
        items = read(tmp_path, RECORDS[0] + liar + RECORDS[2], "a.warc")
        offset = len(RECORDS[0])
    else:
        items = read(tmp_path, MEMBERS[0] + gzip.compress(liar) + MEMBERS[2])
        offset = len(MEMBERS[0])
    assert [url for url in urls(items) if url] == ["0", "2"]
    assert bad(items)[0].offset == offset and "Content-Length" in bad(items)[0].reason


def test_plain_file_has_byte_offsets(tmp_path):
    items = read(tmp_path, b"".join(RECORDS), "a.warc")
    assert urls(items) == ["0", "1", "2", "3"]
    assert isinstance(items[3], Record) and items[3].offset == sum(map(len, RECORDS[:3]))
    assert read_record_at(tmp_path / "a.warc", items[3].offset) == items[3]


def test_several_records_in_one_member_are_all_read(tmp_path):
    items = read(tmp_path, gzip.compress(b"".join(RECORDS)))
    assert urls(items) == ["0", "1", "2", "3"]
    last = items[3]
    assert isinstance(last, Record)
    assert read_record_at(tmp_path / "a.warc.gz", 0, payload_sha256=last.payload_sha256) == last


@pytest.mark.parametrize("data", [b"", b"not a WARC file at all", b"\x1f\x8b", b"\0" * 5000])
def test_files_that_are_no_warc_are_reported_not_raised(tmp_path, data):
    items = read(tmp_path, data)
    assert [type(item) for item in items] == [BadRecord]


def test_junk_between_members_is_reported(tmp_path):
    items = read(tmp_path, MEMBERS[0] + b"\0" * 1000 + MEMBERS[1])
    assert urls(items) == ["0", None, "1"]


TEXT = b"na\xefve " * 300
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(TEXT), TEXT)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ((("Content-Encoding", "gzip"),), gzip.compress(TEXT)),
        ((("Content-Encoding", "br"),), brotli.compress(TEXT)),
        ((("Content-Encoding", "deflate"),), zlib.compress(TEXT)),
        ((("Content-Encoding", "deflate"),), zlib.compress(TEXT)[2:-4]),
        ((("Transfer-Encoding", "chunked"),), CHUNKED),
        ((("Content-Encoding", "gzip"),), TEXT),
        ((("Transfer-Encoding", "chunked"),), TEXT),
        ((("Content-Encoding", "utf-8"),), TEXT),
        ((("Content-Length", "3"),), TEXT),
    ],
    ids=["gzip", "br", "deflate", "raw-deflate", "chunked", "lie-gzip", "lie-chunked", "lie-utf8", "lie-length"],
)
def test_http_encodings_are_undone_and_lies_about_them_survived(tmp_path, headers, body):
    (record,) = read(tmp_path, gzip.compress(http_record(0, body, headers)))
    assert isinstance(record, Record) and record.payload == TEXT


def test_undecodable_compressed_body_is_a_bad_record(tmp_path):
    broken = bytearray(gzip.compress(TEXT))
    broken[12] ^= 0xFF
    (item,) = read(tmp_path, gzip.compress(http_record(0, bytes(broken), (("Content-Encoding", "gzip"),))))
    assert isinstance(item, BadRecord) and "cannot be decoded" in item.reason


def test_decompression_bombs_are_not_inflated(tmp_path, monkeypatch):
    monkeypatch.setattr(warc_framing, "MAX_RECORD_BYTES", 1_000_000)
    outer = gzip.compress(http_record(0, b"a" * 2_000_000))
    inner = gzip.compress(http_record(1, gzip.compress(b"a" * 2_000_000), (("Content-Encoding", "gzip"),)))
    items = read(tmp_path, outer + inner + MEMBERS[2])
    assert urls(items) == [None, None, "2"]
    assert all("more than 1,000,000 bytes" in place.reason for place in bad(items))


def test_large_payloads_are_read_whole(tmp_path):
    body = bytes(range(256)) * 40_000
    (record,) = read(tmp_path, gzip.compress(http_record(0, body), 1))
    assert isinstance(record, Record) and record.payload == body


def test_a_place_without_record_is_refused(tmp_path):
    read(tmp_path, b"".join(MEMBERS))
    with pytest.raises(DataError, match="offset 7"):
        read_record_at(tmp_path / "a.warc.gz", 7)
    with pytest.raises(DataError, match="offset 999,999"):
        read_record_at(tmp_path / "a.warc.gz", 999_999)
    with pytest.raises(DataError, match="cannot read the WARC file"):
        list(read_records(tmp_path / "missing.warc.gz"))
