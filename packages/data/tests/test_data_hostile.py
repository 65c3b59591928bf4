"""Pages and archives made to run a reader away: each is set aside with its reason, and what follows it is read."""

import gzip
import os

import pytest

from headwater.data.collect import warc_framing
from headwater.data.collect.warc_reader import BadRecord, Record, read_bytes, read_records_at
from headwater.data.operators import extract as extract_module
from headwater.data.operators.charset import decode
from headwater.data.operators.extract import Extract, ExtractConfig
from headwater.data.operators.extractors import guard
from headwater.data.operators.extractors.nesting import SMALL_TAGS, is_small, nested_deeper
from headwater.data.operators.extractors.options import Options
from headwater.data.operators.text_cleaning import cleaned
from headwater.data.warc_parts import WarcPart

GOOD = b"<html><body><p>The bridge carries a road over the river.</p></body></html>"


def run(rows, payloads, content_type="text/html", charset="", **options):
    options.setdefault("scope", "full")
    batch = rows(payloads=payloads, content_type=content_type, charset=charset)
    return Extract(ExtractConfig(**options)).process(batch)


def attributes(count):
    return b"<p " + b" ".join(b"a%d=1" % number for number in range(count)) + b">x"


DEEP = {
    "divs": b"<div>" * 100_000 + b"x" + b"</div>" * 100_000,
    "unclosed": b"<section><article>" * 20_000 + b"x",
    "fonts": b"".join(b"<font size=%d><p>" % number for number in range(20_000)),
    "spans in inline order": b"<span>" * 10_000,
    "roots": b"".join(b"<html a%d=1>" % number for number in range(5_000)) + b"<div>" * 5_000,
}


@pytest.mark.parametrize("kind", DEEP)
def test_pages_nested_too_deep_are_set_aside_before_they_are_parsed(rows, kind, monkeypatch):
    monkeypatch.setattr(extract_module, "extract_guarded", lambda *_: pytest.fail("it was parsed"))
    verdicts = run(rows, [DEEP[kind]])
    assert verdicts.reasons == ["too_deep"], verdicts.details
    assert "at most 1,000" in verdicts.details[0]


def test_ten_thousand_levels_between_two_good_pages(rows):
    verdicts = run(rows, [GOOD, b"<div>" * 10_000 + b"x", GOOD])
    assert verdicts.outcomes == ["keep", "reject", "keep"]
    assert verdicts.batch.column("text").to_pylist()[2].startswith("The bridge")


def test_long_flat_pages_are_not_taken_for_deep_ones(rows):
    unclosed = b"<ul>" + b"<li>one<br>two<img src=x>" * 5_000
    scripted = b"<script>" + b"'<div><span>';" * 5_000 + b"</script><!--" + b"<div>" * 5_000 + b"--><p>text</p>"
    tables = b"<table>" + b"<tr><td>a<td>b" * 5_000
    verdicts = run(rows, [unclosed, scripted, tables])
    assert verdicts.outcomes == ["keep"] * 3, verdicts.details


def test_depth_is_that_of_the_tags():
    page = b"<div>" * 30 + b"<p>x<br></p>" * 3000 + b"</div>" * 30
    assert nested_deeper(page, 29) == 30 and nested_deeper(page, 30) == 0
    assert not is_small(page) and is_small(b"<p>x" * SMALL_TAGS)
    assert nested_deeper(b"</span>" * 5000 + b"<div>" * 2000, 1000) == 2000


def test_depth_that_the_count_cannot_see_is_left_to_the_processor_limit(rows):
    # The closing tags close nothing, so that the page looks flat; reading it takes the square of its length.
    page = b"<div>x</span>" * 30_000
    assert nested_deeper(page, 1000) == 0
    verdicts = run(rows, [page, GOOD], scope="main", max_seconds=1)
    assert verdicts.reasons == ["parse_timeout", ""]


def test_a_parser_that_runs_away_is_ended_and_the_next_page_is_read(rows):
    # 60,000 attributes of one tag: every one is compared with all before it, which no count of tags can tell.
    verdicts = run(rows, [attributes(60_000), GOOD + b" " * 250_000], max_seconds=1)
    assert verdicts.reasons == ["parse_timeout", ""]
    assert "1 s of processor time" in verdicts.details[0]
    assert "carries a road" in verdicts.batch.column("text")[1].as_py()


def test_a_parser_that_takes_all_memory_costs_one_page(rows, monkeypatch):
    monkeypatch.setattr(guard, "MEMORY_BYTES", 600_000_000)
    monkeypatch.setattr(guard, "_child", None)
    # Formatting elements that their closing tags do not reach are opened again in every paragraph.
    page = b"".join(b"<font size=%d><object></font></object><p>" % number for number in range(5_000))
    verdicts = run(rows, [page, GOOD + b" " * 250_000])
    assert verdicts.reasons == ["parse_error", ""], verdicts.details
    assert "carries a road" in verdicts.batch.column("text")[1].as_py()


def test_a_child_that_was_killed_is_replaced(rows):
    page = GOOD + b" " * 250_000
    assert run(rows, [page]).outcomes == ["keep"]
    child = guard._child
    assert child is not None
    child._process.kill()
    child._process.wait()
    assert run(rows, [page]).outcomes == ["keep"] and guard._child is not child


def test_a_text_that_outgrows_its_page_is_set_aside(rows):
    # Lists are indented by their level: 900 levels of 3,000 items are some 5 MB from 30 kB.
    page = b"<ul><li>" * 900 + b"<li>x" * 3_000
    verdicts = run(rows, [page], max_bytes=1_000_000)
    assert verdicts.reasons == ["too_large"] and "of text" in verdicts.details[0]


def test_the_guarded_parser_gives_the_same_text():
    html = GOOD.decode() + "<p>größer 日本 \u2028 &amp; &#0; x</p>" * 500
    for scope in ("main", "full"):
        options = Options("resiliparse", scope)
        direct = extract_module.extractor("resiliparse")(html, options)
        assert guard.extract_guarded(html.encode(), options, 30, 10**7) == direct


def test_a_forked_process_starts_its_own_child():
    guard.extract_guarded(GOOD, Options("resiliparse"), 30, 10**6)
    owner = guard._child
    number = os.fork()
    if number == 0:
        text = guard.extract_guarded(GOOD, Options("resiliparse"), 30, 10**6)
        os._exit(0 if guard._child is not owner and "bridge" in text else 1)
    assert os.waitpid(number, 0)[1] == 0
    assert "bridge" in guard.extract_guarded(GOOD, Options("resiliparse", "full"), 30, 10**6)


@pytest.mark.parametrize(("html", "unit"), [("trafilatura", b"<li>x"), ("justext", b"<p>x")])
def test_slow_extractors_run_under_the_guard(rows, html, unit):
    pytest.importorskip(html)
    # Both take time that is quadratic in what they take for paragraphs.
    verdicts = run(rows, [unit * 30_000, b"", b"\n"], html=html, max_seconds=2)
    assert verdicts.reasons[0] == "parse_timeout"
    assert set(verdicts.outcomes) == {"reject"}


@pytest.mark.parametrize(
    ("payload", "content_type", "reasons"),
    [
        (b"x" * 100_000_000, "text/html", {"too_large"}),
        (b"x" * 10_000_000, "text/html", {""}),
        (b"a " * 5_000_000, "text/plain", {""}),
        (b"\0" * 1_000_000, "text/html", {"binary"}),
        (b"<p>a\0b\0c</p>" * 1000, "text/html", {"binary"}),
        (b"<p>" + b"word " * 1000 + b"\0</p>", "text/html", {""}),
        (b"", "text/html", {"too_short"}),
        (b"   \r\n\t", "text/plain", {"too_short"}),
        (b"<" * 3_000_000, "text/html", {""}),
        (b"<!--" * 300_000, "text/html", {"too_short"}),
        (b"&" * 3_000_000, "text/html", {""}),
        (b"<p>x" * 400_000, "text/html", {""}),
        (b"\n" * 5_000_000 + b"x", "text/plain", {""}),
        (b" " * 5_000_000 + b"\nx", "text/plain", {""}),
    ],
)  # fmt: skip
def test_sizes_and_contents_at_the_edge(rows, payload, content_type, reasons):
    verdicts = run(rows, [payload], content_type)
    assert set(verdicts.reasons) == reasons, verdicts.details


@pytest.mark.parametrize(
    "label",
    ["punycode", "idna", "unicode_escape", "raw-unicode-escape", "undefined", "rot13", "zip", "cp037", "utf-7", "hz",
     "a" * 5000, "../x", "os.path", "aliases", "\udcff", "\0", "koi8-r\n", "x-user-defined", "replacement"],
)  # fmt: skip
def test_labels_that_are_no_encoding_of_the_web_do_nothing(label):
    found = decode("Die Brücke führt über den Fluß. ".encode() * 4000, label, html=True, max_replaced=0.001)
    assert found is not None
    found.text.encode("utf-8")
    decode(os.urandom(1) * 2_000_000 + b"\xff\xfe", label, html=False, max_replaced=0.001)


def test_utf7_that_decodes_to_lone_surrogates_stops_nothing(rows):
    verdicts = run(rows, [b"+AGE-+2AA-\x06\x1b$BF|K\\8l\x1b(\n\nB", GOOD], "text/plain", charset="utf-7")
    assert verdicts.outcomes == ["reject", "change"]


def test_undecodable_megabytes_are_given_up_early(rows):
    payload = bytes(range(128, 256)) * 120_000
    verdicts = run(rows, [payload, payload, payload], charset="cp1255")
    assert verdicts.reasons == ["undecodable"] * 3


def test_cleaning_is_linear_in_blanks():
    text = " " * 3_000_000 + "\n" + " \t" * 1_000_000 + "\nx" + "\n" * 3_000_000 + "y \u00a0\n"
    assert cleaned([text], [False]).to_pylist() == ["x\n\ny"]


def record(body: bytes, length: bytes | None = None, headers: bytes = b"") -> bytes:
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + headers + b"\r\n" + body
    size = length if length is not None else b"%d" % len(http)
    return (
        b"WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: http://x/\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        b"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\n"
        b"Content-Type: application/http; msgtype=response\r\nContent-Length: "
        + size
        + b"\r\n\r\n"
        + http
        + b"\r\n\r\n"
    )


LAST = gzip.compress(record(GOOD))


@pytest.mark.parametrize(
    "length", [b"-1", b"", b"1e3", b"0x10", b"9" * 5000, b"9" * 18, b"99999999999999999999", b"1 2", b"\xd9\xa3"]
)
def test_lengths_that_lie_cost_one_record(length):
    items = list(read_bytes(gzip.compress(record(GOOD, length)) + LAST, "f"))
    assert isinstance(items[0], BadRecord) and "Content-Length" in items[0].reason
    assert isinstance(items[-1], Record) and items[-1].payload == GOOD


def test_members_nested_in_damaged_ones_do_not_take_quadratic_time():
    # Each member's stored block holds all that follow, and each check sum is wrong.
    def stored(data: bytes) -> bytes:
        blocks = [data[place : place + 65535] for place in range(0, len(data), 65535)]
        framed = b"".join(
            bytes([number == len(blocks) - 1]) + len(block).to_bytes(2, "little")
            + (len(block) ^ 0xFFFF).to_bytes(2, "little") + block for number, block in enumerate(blocks)
        )  # fmt: skip
        return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + framed + b"\0" * 8

    data = b"x" * 100_000
    for _ in range(300):
        data = stored(b"WARC/" + data)
    items = list(read_bytes(data + LAST, "f"))
    assert all(isinstance(item, BadRecord) for item in items) and len(items) < 60
    assert "false starts" in items[-1].reason


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"deflate", b"zstd", b"gzip, gzip, gzip, gzip"])
def test_bombs_in_the_body_are_not_inflated(encoding, monkeypatch):
    brotli = pytest.importorskip("brotli")
    import zlib

    monkeypatch.setattr(warc_framing, "MAX_RECORD_BYTES", 4_000_000)
    data = b"a" * 8_000_000
    body = {b"gzip": gzip.compress(data), b"br": brotli.compress(data), b"deflate": zlib.compress(data)}.get(encoding)
    if body is None:
        body = data[:1000]
        for _ in range(4):
            body = gzip.compress(body)
    items = list(
        read_bytes(gzip.compress(record(body, headers=b"Content-Encoding: " + encoding + b"\r\n")) + LAST, "f")
    )
    assert len(items) == 2 and isinstance(items[1], Record)
    assert isinstance(items[0], BadRecord) or len(items[0].payload) < 4_000_000


def test_bad_records_reach_the_rows_with_their_place(tmp_path):
    damaged = bytearray(LAST)
    damaged[len(damaged) // 2] ^= 0xFF
    path = tmp_path / "a.warc.gz"
    path.write_bytes(LAST + bytes(damaged) + LAST)
    (batch,) = WarcPart("web", str(tmp_path), "a.warc.gz")()
    faults = batch.column("fault").to_pylist()
    assert [bool(fault) for fault in faults] == [False, True, False]
    assert batch.column("warc_offset").to_pylist()[1] == len(LAST)
    (again,) = WarcPart("web", str(tmp_path), "a.warc.gz", (0, len(LAST), 2 * len(LAST)))()
    assert again.equals(batch)
    places = list(read_records_at(path, [5, 10**9]))
    assert [item.reason for item in places if isinstance(item, BadRecord)] == [
        "bytes that are no gzip member", "no record begins here",
    ]  # fmt: skip
