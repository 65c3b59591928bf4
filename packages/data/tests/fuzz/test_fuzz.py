"""Every parser of bytes that strangers wrote: no exception, and what comes out keeps its promises.

Bounded here; for longer, with mutations of the same seeds:

    python packages/data/tests/fuzz/test_fuzz.py warc --minutes 10 --seed 3
    python packages/data/tests/fuzz/test_fuzz.py warc --atheris CORPUS_FOLDER   # coverage-guided, where it is installed
"""

import argparse
import gzip
import io
import json
import random
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.data.collect.warc_reader import BadRecord, Record, read_bytes
from headwater.data.conversations.chatml import pieces
from headwater.data.conversations.records import record_of
from headwater.data.conversations.text import from_text, to_text
from headwater.data.operators.charset import decode, looks_binary
from headwater.data.operators.conversation import Conversation, ConversationConfig
from headwater.data.operators.extract import Extract, ExtractConfig
from headwater.data.operators.extractors.nesting import is_small, nested_deeper
from headwater.data.operators.language import Language, LanguageConfig, identify
from headwater.data.operators.pii import Pii, PiiConfig
from headwater.data.operators.refusal import Refusal, RefusalConfig
from headwater.data.operators.task_type import TaskType, TaskTypeConfig
from headwater.data.operators.turn_language import TurnLanguage, TurnLanguageConfig
from headwater.data.operators.turn_length import TurnLength, TurnLengthConfig
from headwater.data.readers.items import Item, batches
from headwater.data.readers.options import WHOLE, Options, Piece, format_of
from headwater.data.rows import ROWS

PAGE = (
    b"<!doctype html><html lang=en><head><meta charset=utf-8><title>t</title><script>if(a<b){}</script></head><body>"
    b"<nav><ul><li><a href=/>Home</a></ul></nav><main><h1>Bridges</h1><p>A bridge carries a road over a river &amp; "
    b"has done so.</p><pre>x\n  y</pre><table><tr><td>1<td>2</table></main><!-- c --><footer>Imprint</footer></body>"
)
LABELS = ("", "utf-8", "iso-8859-1", "utf-16", "shift_jis", "gb18030", "iso-2022-jp", "utf-7", "hz-gb-2312", "cp1255",
          "big5", "euc-kr", "utf-32", "johab", "punycode", "no-such", "koi8-r")  # fmt: skip
TYPES = ("text/html", "application/xhtml+xml", "text/plain", "text/x-python", "", "application/json", "image/png")


def warc_record(http: bytes, kind: bytes = b"response", media: bytes = b"application/http; msgtype=response") -> bytes:
    head = (
        b"WARC/1.1\r\nWARC-Type: " + kind + b"\r\nWARC-Target-URI: http://x/y\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        b"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\nContent-Type: " + media
    )
    return head + b"\r\nContent-Length: %d\r\n\r\n" % len(http) + http + b"\r\n\r\n"


HTTP = [
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 9\r\n\r\n<p>x</p>\n",
    b"HTTP/1.0 404\nContent-Type: text/html\n\nno",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"<p>x</p>", mtime=0),
    b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n" + zlib.compress(b"<p>x</p>"),
]
WARC = [gzip.compress(warc_record(http), mtime=0) for http in HTTP]
JSON_LINES = b'{"text": "one", "id": 1}\n{"text": "tw\\u00f6", "url": "http://x"}\n\n[1]\n{"text": null}\n'


CALL = {"id": "c", "function": {"name": "f", "arguments": {"a": "jane@mail.org"}}}
CONVERSATIONS = [
    json.dumps(record, ensure_ascii=False).encode()
    for record in (
        {"instruction": "Say ⟦!⟧", "input": "\n\\⟦?⟧ x", "output": "I'm sorry, but I can't."},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "jane@mail.org"}], "system": "s"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]},
                      {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "hm"},
                      {"role": "tool", "content": "1", "tool_call_id": "c"}, {"role": "assistant", "content": "2"}],
         "tools": [{"name": "f"}]},
        {"chosen": "The sky is blue", "rejected": "The sky is green", "score_chosen": 1e308, "margin": 2},
        {"prompt": [{"role": "user", "content": "How many is 1 + 2?"}], "completion": "3", "label": False},
    )
]  # fmt: skip


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"text": ["one", "two", None], "id": ["a", "b", "c"]}), out)
    return out.getvalue()


def warc(data: bytes) -> None:
    size = len(data)
    last = 0
    for item in read_bytes(data, "f"):
        place = item.offset
        assert last <= place <= size
        last = place
        if isinstance(item, BadRecord):
            assert item.reason and len(item.reason) < 500
        else:
            assert isinstance(item, Record)
            item.url.encode(), item.content_type.encode(), (item.charset or "").encode()
    for name in ("f.warc", "f.warc.gz"):
        reader("warc", name, data)


def http_head(data: bytes) -> None:
    items = list(read_bytes(gzip.compress(warc_record(data), 1, mtime=0) + WARC[0], "f"))
    assert isinstance(items[-1], Record) and items[-1].payload == b"<p>x</p>\n"
    warc(warc_record(data))


def charset(data: bytes) -> None:
    label, payload = (LABELS[data[0] % len(LABELS)], data[1:]) if data else ("", b"")
    for html in (False, True):
        found = decode(payload, label, html=html, max_replaced=0.01)
        if found is not None:
            assert found.utf8 == found.text.encode("utf-8") or found.replaced
            looks_binary(found.utf8, 0.002)


def extract(data: bytes) -> None:
    first, payload = (data[0], data[1:]) if data else (0, b"")
    count = 3
    table = {
        "row": [b"%d" % i for i in range(count)], "id": ["0"] * count, "source": ["s"] * count, "url": [""] * count,
        "warc_file": ["f"] * count, "warc_offset": [0] * count, "payload_sha256": [""] * count,
        "content_type": ["text/html", TYPES[first % len(TYPES)], "text/html"],
        "charset": ["utf-8", LABELS[first % len(LABELS)], ""], "http_status": [200] * count, "fault": [""] * count,
        "payload": [PAGE, payload, PAGE], "text": [""] * count, "language": [""] * count,
        "language_score": [0.0] * count, "verdicts": [[]] * count,
    }  # fmt: skip
    more = {each.name: pa.array([None] * count, each.type) for each in ROWS if each.name not in table}
    batch = pa.table({**table, **more}).select(ROWS.names).cast(ROWS).to_batches()[0]
    for scope in ("main", "full"):
        operator = Extract(ExtractConfig(scope=scope))
        found = operator.process(batch)
        assert set(found.reasons) <= operator.reasons | {""}
        texts = found.batch.column("text").to_pylist()
        assert texts[0] == texts[2] and "Bridges" in texts[0]
        assert "\r" not in texts[1] and len(texts[1].encode()) <= 100 * len(payload) + 1000
    Language(LanguageConfig(allowed={})).process(found.kept)


def nesting(data: bytes) -> None:
    deep = nested_deeper(data, 100)
    assert deep == 0 or 100 < deep <= data.count(b"<")
    is_small(data)
    nested_deeper(b"<b>" * 200 + data, 100)


def language(data: bytes) -> None:
    code, score = identify(data.decode("utf-8", "surrogateescape"))
    assert code and 0 <= score <= 1.01


def reader(kind: str, name: str, data: bytes) -> None:
    for options in (Options(kind), Options(kind, record=True)):
        items = list(format_of(kind, name).read(io.BytesIO(data), Piece(name, len(data), 0, WHOLE), options))
        assert all(isinstance(item, Item) for item in items)
        for batch in batches("s", name, items):
            batch.validate(full=True)


def readers(data: bytes) -> None:
    for kind, name in (
        ("jsonl", "f.jsonl"), ("jsonl", "f.jsonl.gz"), ("jsonl", "f.jsonl.zst"), ("jsonl", "f.jsonl.bz2"),
        ("json", "f.json"), ("parquet", "f.parquet"), ("arrow", "f.arrow"), ("html", "f.html"), ("mediawiki", "f.xml"),
    ):  # fmt: skip
        reader(kind, name, data)


def conversations(data: bytes) -> None:
    """A record of instruction data: kept ones are canonical, and every operator and the export take them."""
    batch = instruction_rows([data, CONVERSATIONS[0]])
    verdicts = Conversation(ConversationConfig(max_characters=100_000)).process(batch)
    assert set(verdicts.reasons) <= Conversation.reasons | {""} and verdicts.outcomes[1] == "keep"
    verdicts.batch.validate(full=True)
    kept = Pii(PiiConfig()).process(verdicts.kept).batch
    for operator in (
        TurnLength(TurnLengthConfig(min_ratio=0)), TurnLanguage(TurnLanguageConfig()), Refusal(RefusalConfig()),
        TaskType(TaskTypeConfig()),
    ):  # fmt: skip
        found = operator.process(kept)
        assert set(found.reasons) <= operator.reasons | {""}
        pa.array(found.details, pa.string()).validate(full=True)
    for text in kept.column("text").to_pylist():
        conversation = from_text(text)
        assert to_text(conversation) == text
        json.dumps(record_of(conversation)), list(pieces(conversation))


def instruction_rows(payloads: list[bytes]) -> pa.RecordBatch:
    items = [Item(place, payload, "application/json") for place, payload in enumerate(payloads)]
    (batch,) = batches("s", "f", items)
    return batch


TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "warc": (warc, [b"".join(WARC), WARC[0], warc_record(HTTP[0]) + warc_record(HTTP[1]), gzip.compress(WARC[0])]),
    "http_head": (http_head, HTTP),
    "charset": (charset, [b"\0" + PAGE, b"\3" + "größe 日本".encode("utf-16"), b"\4" + "日本語".encode("shift_jis"),
                          b"\6" + "日本語".encode("iso2022_jp"), b"\7+AGE-+2AA-", b"\1" + b"\xef\xbb\xbfx\xff"]),
    "extract": (extract, [b"\0" + PAGE, b"\2text\r\nmore\t\n\n\n\nend", b"\3# -*- coding: latin-1 -*-\nx = 1"]),
    "nesting": (nesting, [PAGE, b"<div>" * 90 + b"</div>" * 90, b"<script><div></script><!--<b>--><p/>"]),
    "language": (language, [b"The river rises in the hills.", "川は町の北の".encode(), b"\xff\n\0__label__en"]),
    "readers": (readers, [JSON_LINES, gzip.compress(JSON_LINES, mtime=0), parquet(), PAGE,
                          b"[" + CONVERSATIONS[0] + b"]", json.dumps({"text": "x" * 100}).encode()]),
    "conversations": (conversations, CONVERSATIONS),
}  # fmt: skip
PIECES = [
    b"\0", b"\xff", b"\r\n", b"\n\n", b"<", b">", b"</", b"<!--", b"&#", b"WARC/1.1\r\n", b"Content-Length: ", b"-1",
    b"9" * 30, b"charset=", b"\x1f\x8b\x08", b"\xef\xbf\xbd", b"\xed\xa0\x80", b"\x1b$B", b"HTTP/1.1 ", b'{"', b"gzip",
    b"\\u0000", b"\\ud800", b"\n\xe2\x9f\xa6!\xe2\x9f\xa7", b"null", b'"role": "user",', b"[[[[", b"br", b"zstd",
    b"chunked", b"ffffffffffffffffff\r\n", b"\xf4\x90\x80\x80",
]  # fmt: skip


def mutate(draw: random.Random, seeds: list[bytes]) -> bytes:
    """A seed with a few of its bytes changed, cut out, doubled, or replaced by what parsers watch for."""
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        place = draw.randrange(len(data) + 1)
        other = min(len(data), place + draw.choice((1, 2, 8, 64, 1024)))
        match draw.randrange(7):
            case 0:
                data[place:other] = b""
            case 1:
                data[place:place] = data[place:other] * draw.choice((1, 2, 50))
            case 2:
                data[place:place] = draw.choice(PIECES)
            case 3:
                data[place:other] = draw.choice(PIECES)
            case 4 if place < len(data):
                data[place] ^= 1 << draw.randrange(8)
            case 5:
                data[place:place] = draw.randbytes(draw.choice((1, 4, 100)))
            case 6:
                data += draw.choice(seeds)
    return bytes(data[:200_000])


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60, deadline=None, derandomize=True, database=None,
          suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
@given(seed=st.integers(0, 2**32))
def test_mutated_seeds(name, seed):
    target, seeds = TARGETS[name]
    target(mutate(random.Random(seed), seeds))


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40, deadline=None, derandomize=True, database=None,
          suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
@given(data=st.binary(max_size=400))
def test_any_bytes(name, data):
    TARGETS[name][0](data)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_as_they_are(name):
    target, seeds = TARGETS[name]
    for seed in [*seeds, b""]:
        target(seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", type=Path)
    asked = parser.parse_args()
    target, seeds = TARGETS[asked.target]
    if asked.atheris:
        import atheris  # pyright: ignore[reportMissingImports] — a tool of who runs this, not of the project

        asked.atheris.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (asked.atheris / f"seed-{number}").write_bytes(seed)
        atheris.instrument_all()
        atheris.Setup([sys.argv[0], str(asked.atheris)], target)
        atheris.Fuzz()
    end, tried = time.monotonic() + 60 * asked.minutes, 0
    while time.monotonic() < end:
        seed = asked.seed * 10**9 + tried
        data = mutate(random.Random(seed), seeds)
        tried += 1
        start = time.process_time()
        try:
            target(data)
        except Exception:
            print(f"seed {seed}: {data[:300]!r}")
            raise
        if time.process_time() - start > 5:
            raise SystemExit(f"seed {seed} took {time.process_time() - start:.1f} s of processor time")
    print(f"{asked.target}: {tried:,} inputs, no failure")


if __name__ == "__main__":
    main()
