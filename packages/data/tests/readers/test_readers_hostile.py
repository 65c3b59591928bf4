"""PDF files, wiki pages and LaTeX made to run a parser away: each is set aside, and the document after it is read."""

import zlib

import pytest
from pdf_file import file_of

from headwater.data.operators import extract as extract_module
from headwater.data.operators.extract import Extract, ExtractConfig
from headwater.data.operators.extractors import by_type, guard

TYPES = {"pdf": "application/pdf", "mediawiki": by_type.MEDIAWIKI, "latex": "application/x-latex"}
PARSERS = {"pdf": "pypdfium2", "mediawiki": "mwparserfromhell", "latex": "pylatexenc"}
CATALOG, FONT = b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def tree(count: int, kids: bytes = b"3 0 R ") -> bytes:
    return b"<</Type/Pages/Count %d/Kids[%s]>>" % (count, kids)


def page(resources: bytes = b"/Font<</F 4 0 R>>") -> bytes:
    return b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<<%s>>/Contents 5 0 R>>" % resources


def stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (entries, len(data), data)


def packed(data: bytes) -> bytes:
    return stream(zlib.compress(data), b"/Filter/FlateDecode")


def form(content: bytes, number: int) -> bytes:
    resources = b"/Resources<</XObject<</X %d 0 R>>/Font<</F 4 0 R>>>>" % number
    return stream(content, b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]" + resources)


def words(count: int) -> bytes:
    return b"BT /F 12 Tf 50 700 Td " + b"(word) Tj 0 -1 Td " * count + b"(The bridge.) Tj ET"


def wiki(text: bytes) -> bytes:
    return b"<page><title>T</title><ns>0</ns><revision><text>%s</text></revision></page>" % text


GOOD = {
    "pdf": file_of([CATALOG, tree(1), page(), FONT, stream(words(0))]),
    "mediawiki": wiki(b"The bridge."),
    "latex": b"The bridge.",
}
FORMS = page(b"/XObject<</X 6 0 R>>")
# Small files; each takes much longer than the second that it is given, and the first three more than a minute.
RUN_AWAY: dict[str, tuple[str, bytes]] = {
    "one long page, a thousand times": (
        "pdf", file_of([CATALOG, tree(1000, b"3 0 R " * 1000), page(), FONT, packed(words(20_000))])
    ),
    "a form that draws itself twice": (
        "pdf", file_of([CATALOG, tree(1), FORMS, FONT, stream(b"/X Do"), form(b"/X Do /X Do ", 6)])
    ),
    "forms that draw the next ten times": (
        "pdf",
        file_of([CATALOG, tree(1), FORMS, FONT, stream(b"/X Do"), *(form(b"/X Do " * 10, n) for n in range(7, 20)),
                 form(words(1), 4)]),
    ),
}  # fmt: skip


# Stands before the real module, and gives it back with a function that crashes.
CRASHING = """
import os, signal, sys
sys.path.remove(os.path.dirname(__file__))
del sys.modules["pypdfium2"]
import pypdfium2
document = pypdfium2.PdfDocument
def crash(payload):
    if payload.endswith(b"crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return document(payload)
pypdfium2.PdfDocument = crash
"""


def check(rows, kind: str, payload: bytes, reasons: set[str], seconds: float = 1):
    """Between two good documents, the payload is set aside for one of these reasons ("" for none)."""
    pytest.importorskip(PARSERS[kind])
    batch = rows(payloads=[GOOD[kind], payload, GOOD[kind]], content_type=TYPES[kind])
    verdicts = Extract(ExtractConfig(**{kind: {}}, max_seconds=seconds)).process(batch)
    assert verdicts.reasons[1] in reasons, verdicts.details
    assert [verdicts.reasons[0], verdicts.reasons[2]] == ["", ""]
    assert "The bridge." in verdicts.batch.column("text")[2].as_py()
    return verdicts


@pytest.mark.parametrize("name", RUN_AWAY)
def test_a_document_that_runs_away_is_ended(rows, name):
    verdicts = check(rows, *RUN_AWAY[name], {"parse_timeout"})
    assert "1 s of processor time" in verdicts.details[1]


NESTED = {
    "arrays": ("pdf", file_of([CATALOG, tree(1), page(), FONT, b"[" * 200_000 + b"]" * 200_000])),
    "dictionaries": ("pdf", file_of([CATALOG, tree(1), page(), FONT, b"<</A" * 100_000 + b">>" * 100_000])),
    "a tree of pages that holds itself": ("pdf", file_of([CATALOG, tree(900, b"2 0 R 3 0 R "), tree(900, b"2 0 R ")])),
    "a count of pages that lies": ("pdf", file_of([CATALOG, tree(900), page(), FONT])),
    "a table of objects that lies": ("pdf", b"%PDF-1.4\nxref\n0 999999999\n" + b"0000000000 65535 f \n" * 9),
    "open braces": ("latex", b"{" * 900_000),
    "open environments": ("latex", b"\\begin{a}" * 90_000),
    "formulas": ("latex", b"$" * 900_000),
    "titles": ("latex", b"\\title[" * 120_000),
    "open templates": ("mediawiki", wiki(b"{" * 4_000_000)),
    "open links": ("mediawiki", wiki(b"[[" * 2_000_000)),
    "open tables": ("mediawiki", wiki(b"{|\n" * 1_300_000)),
    "quotes": ("mediawiki", wiki(b"'" * 1_000_000)),
    "elements": ("mediawiki", b"<page>" + b"<a>" * 500_000),
    "entities": (
        "mediawiki",
        b"<!DOCTYPE p [<!ENTITY a0 'xxxxxxxxxx'>"
        + b"".join(b"<!ENTITY a%d '%s'>" % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 12))
        + b"]><page a='&a11;'><title>&a11;</title></page>",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NESTED)
def test_nesting_loops_and_lies_cost_one_document(rows, name):
    check(rows, *NESTED[name], {"", "parse_error", "parse_timeout", "too_short", "no_text_layer", "too_large"})


def test_a_parser_that_takes_all_memory_costs_one_document(rows, monkeypatch):
    monkeypatch.setattr(guard, "MEMORY_BYTES", 250_000_000)
    monkeypatch.setattr(guard, "_child", None)
    payload = file_of([CATALOG, tree(1), page(), FONT, packed(words(1_000_000))])
    verdicts = check(rows, "pdf", payload, {"parse_error"}, seconds=30)
    assert "the parser ended with SIG" in verdicts.details[1]


def test_a_parser_that_crashes_costs_one_document_which_is_named(run, tmp_path, monkeypatch):
    pytest.importorskip("pypdfium2")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "pypdfium2.py").write_text(CRASHING)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))  # the child looks where this process does
    monkeypatch.setattr(guard, "_child", None)
    for name, payload in (("a", GOOD["pdf"]), ("b", GOOD["pdf"] + b"crash"), ("c", GOOD["pdf"])):
        (tmp_path / f"{name}.pdf").write_bytes(payload)
    run.collect(format="pdf", uris=[f"{tmp_path}/*.pdf"])
    _, kept, rejected = run.documents([{"extract": {"pdf": {}}}])
    assert sorted((row["warc_file"], row["text"]) for row in kept) == [
        ("a.pdf", "The bridge."),
        ("c.pdf", "The bridge."),
    ]
    assert [(row["warc_file"], row["reason"], row["detail"]) for row in rejected] == [
        ("b.pdf", "parse_error", "the parser ended with SIGSEGV")
    ]  # fmt: skip


def test_what_is_too_large_is_not_parsed(rows, monkeypatch):
    pytest.importorskip("pypdfium2")
    monkeypatch.setattr(extract_module, "extract_guarded", lambda *_: pytest.fail("it was parsed"))
    batch = rows(payloads=[GOOD["pdf"]], content_type=TYPES["pdf"])
    verdicts = Extract(ExtractConfig(pdf={"max_bytes": 100})).process(batch)
    assert verdicts.reasons == ["too_large"] and "at most 100" in verdicts.details[0]
