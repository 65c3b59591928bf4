import bz2
import gzip
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.trace.payload import read_collected
from headwater.data.operators.extractors.by_type import MediawikiConfig, Unusable, text_of
from headwater.data.readers import mediawiki
from headwater.data.readers.options import WHOLE, Options, Piece

pytest.importorskip("mwparserfromhell")

HEAD = b'<mediawiki xml:lang="en"><siteinfo><base>https://w.example/wiki/Main_Page</base></siteinfo>\n'


def page(title, text="Text.", ns=0, extra="", model="wikitext"):
    return (
        f"  <page>\n    <title>{title}</title><ns>{ns}</ns><id>1</id>{extra}<revision><id>2</id><model>{model}</model>"
        f'<text xml:space="preserve">{text}</text></revision>\n  </page>\n'
    ).encode()


def multistream(pages, per_stream=3):
    streams = [
        HEAD,
        *(b"".join(pages[i : i + per_stream]) for i in range(0, len(pages), per_stream)),
        b"</mediawiki>\n",
    ]
    return b"".join(bz2.compress(stream) for stream in streams)


def read(data, name="w.xml", start=0, stop=WHOLE):
    return list(mediawiki.read(io.BytesIO(data), Piece(name, len(data), start, stop), Options("mediawiki")))


def in_pieces(data, name, size):
    return [
        item
        for start, stop in mediawiki.cut(io.BytesIO(data), name, len(data), size)
        for item in read(data, name, start, stop)
    ]


PAGES = [page(f"Page {i}", f"Text of page number {i}. " * (i % 4 + 1)) for i in range(20)]


@pytest.mark.parametrize("name", ["w.xml", "w.xml.bz2", "w.xml.gz"])
@pytest.mark.parametrize("partition_bytes", [1000, 1500, 10**6])
def test_any_cut_gives_the_same_pages(run, tmp_path, name, partition_bytes):
    plain = HEAD + b"".join(PAGES) + b"</mediawiki>"
    data = {"w.xml": plain, "w.xml.bz2": multistream(PAGES), "w.xml.gz": gzip.compress(plain)}[name]
    (tmp_path / name).write_bytes(data)
    run.collect(format="mediawiki", uris=[f"{tmp_path}/{name}"])
    rows = run.rows(partition_bytes)
    assert rows == run.rows() and [row["url"] for row in rows] == [
        f"https://w.example/wiki/Page_{i}" for i in range(20)
    ]
    assert [row["payload"] for row in rows] == [each.strip() for each in PAGES]
    folder = run.layout.raw("s")
    for row in rows[4:7]:
        assert read_collected(folder, name, row["warc_offset"], row["payload_sha256"]) == row["payload"]


def test_pages_may_go_on_in_the_next_stream():
    plain = HEAD + b"".join(PAGES) + b"</mediawiki>"
    data = b"".join(bz2.compress(plain[i : i + 200]) for i in range(0, len(plain), 200))
    assert [item.payload for item in read(data, "w.xml.bz2")] == [each.strip() for each in PAGES]
    assert in_pieces(data, "w.xml.bz2", 300) == read(data, "w.xml.bz2")


def test_one_damaged_page_costs_no_other():
    data = HEAD + PAGES[0] + PAGES[1].replace(b"</page>", b"") + page("A", "a & b") + PAGES[2] + PAGES[3][:60]
    assert [item.fault for item in read(data)] == [
        "", "a page that does not end before the next one begins",
        "XML: xmlParseEntityRef: no name, line 2, column 114", "", "a page that does not end: the file ends inside it",
    ]  # fmt: skip


def test_a_damaged_stream_costs_no_other():
    streams = [bz2.compress(each) for each in (HEAD, *PAGES[:4])]
    streams[2] = streams[2][:30] + b"\0\0\0" + streams[2][33:]
    data = b"".join(streams)
    items = read(data, "w.xml.bz2")
    assert [bool(item.fault) for item in items] == [False, True, False, False]
    assert items[1].fault.startswith("bzip2: ") and items[1].place == len(streams[0] + streams[1])
    assert in_pieces(data, "w.xml.bz2", 100) == items
    assert read(data[:-20], "w.xml.bz2")[-1].fault == "bzip2: the file ends inside a stream"


PIECES = [
    HEAD,
    PAGES[0],
    b"<page>",
    b"</page>",
    b"<pa",
    b"ge>",
    b"x",
    b"<page></page>",
    b"<page>&x;</page>",
    b"\xff",
    b"  ",
]


@given(st.lists(st.sampled_from(PIECES), max_size=8), st.integers(1, 200))
def test_every_arrangement_of_tags_is_pages_and_faults(parts, size):
    data = b"".join(parts)
    items = read(data)
    assert in_pieces(data, "w.xml", size) == items
    assert sum(not item.fault for item in items) <= data.count(b"</page>")
    assert all(bool(item.fault) != bool(item.payload) for item in items)


@settings(max_examples=60)
@given(data=st.binary(max_size=50), place=st.integers(0, 10**6), size=st.integers(100, 2000))
def test_damage_in_a_compressed_dump_is_a_fault(data, place, size):
    good = multistream(PAGES)
    place %= len(good)
    for content in (data, good[:place], good[:place] + data + good[place:]):
        items = read(content, "w.xml.bz2")
        assert in_pieces(content, "w.xml.bz2", size) == items
        assert all(bool(item.fault) != bool(item.payload) for item in items)


def text(*arguments, **options):
    return text_of("mediawiki", page(*arguments), MediawikiConfig(**options))


def test_wikitext_becomes_text():
    wikitext = (
        "{{Infobox|a={{b}}}}\n'''River''' is a [[stream|big ''stream'']] of [[water]].&lt;ref name=x&gt;no&lt;/ref&gt;"
        "\n[[File:a.jpg|thumb|A picture]]\n== History ==\n* one\n* two\n{| class=x\n| cell\n|}\n"
        "[http://x.org a link] and &amp;eacute;. &lt;math&gt;x^2&lt;/math&gt;&lt;!-- no --&gt;\n[[Category:Rivers]]"
    )
    assert "\n".join(line for line in text("River", wikitext).split("\n") if line) == (
        "River\nRiver is a big stream of water.\nHistory\n- one\n- two\na link and é. $x^2$"
    )
    assert "cell" in text("River", wikitext, tables=True)


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        (page("A", "#REDIRECT [[B]]"), "redirect"),
        (page("A", "x", extra='<redirect title="B" />'), "redirect"),
        (page("Talk:A", "x", ns=1), "not_an_article"),
        (page("A.css", "x", model="css"), "not_an_article"),
        (b"<page>&x;</page>", "parse_error"),
        (b"", "parse_error"),
    ],
)
def test_what_is_no_article_is_told(element, reason):
    with pytest.raises(Unusable) as caught:
        text_of("mediawiki", element, MediawikiConfig())
    assert caught.value.reason == reason


TOKENS = [
    "[[", "]]", "{{", "}}", "{|", "|}", "|", "'''", "==", "\n", "*", "&lt;ref&gt;", "&lt;b&gt;", "&lt;/b&gt;", "a", 
    "File:", "http://x", "&amp;lt;", "&lt;!--",
]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=40))
def test_any_wikitext_gives_a_text(parts):
    text("T", "x" + "".join(parts)).encode()


def test_a_dump_becomes_documents(run, tmp_path):
    pages = [PAGES[0], page("B", "#REDIRECT [[A]]"), page("Talk:A", "x", 1), page("Empty", "{{stub}}"), b"<page>"]
    (tmp_path / "w.xml.bz2").write_bytes(multistream(pages))
    run.collect(format="mediawiki", uris=[f"{tmp_path}/w.xml.bz2"])
    _, kept, rejected = run.documents([{"extract": {"mediawiki": {}}}])
    assert [row["text"] for row in kept] == ["Page 0\n\nText of page number 0."]
    assert sorted(row["reason"] for row in rejected) == ["bad_record", "not_an_article", "redirect", "too_short"]
