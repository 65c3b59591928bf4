import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdf_file import file_of

from headwater.core.config import validate
from headwater.core.errors import ConfigError, DataError
from headwater.data.config import DocumentsConfig
from headwater.data.operators.extractors.by_type import PdfConfig, Unusable, text_of
from headwater.data.operators.extractors.pdf_text import joined

pytest.importorskip("pypdfium2")

IMAGE = b"<</Type/XObject/Subtype/Image/Width 1/Height 1/ColorSpace/DeviceGray/BitsPerComponent 8/Length 1>>"
IMAGE += b"stream\n\x7f\nendstream"
LIST = (
    "One thing that is long enough\n- a list item, quite long\n- a second list item, long too\n2. and a third one here"
)


def pdf(*pages: list[str] | None, trailer: bytes = b"") -> bytes:
    """A PDF file; a page is its lines, or None for one that is an image."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>", IMAGE]
    kids = []
    for page in pages:
        if page is None:
            drawn = b"q 100 0 0 100 0 0 cm /I Do Q"
        else:
            drawn = b"BT /F 12 Tf 50 700 Td " + b" 0 -14 Td ".join(b"(%s) Tj" % line.encode() for line in page) + b" ET"
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn))
        resources = b"<</Font<</F 3 0 R>>/XObject<</I 4 0 R>>>>"
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources%s/Contents %d 0 R>>" % (resources, len(objects))
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(kids))
    return file_of(objects, trailer)


def reason(payload: bytes, **options) -> str:
    with pytest.raises(Unusable) as caught:
        text_of("pdf", payload, PdfConfig(**options))
    return f"{caught.value.reason}: {caught.value}"


def test_the_text_of_all_pages():
    assert text_of("pdf", pdf(["The first page."], ["The second."]), PdfConfig()) == "The first page.\n\nThe second."


def test_files_without_text_are_told_apart():
    encrypt = b"/Encrypt<</Filter/Standard/V 1/R 2/O(%s)/U(%s)/P -4>>/ID[(a)(a)]" % (b"x" * 32, b"y" * 32)
    assert reason(pdf(None, None, ["Text."])) == "no_text_layer: 2 of 3 pages are images without text"
    assert text_of("pdf", pdf(None, ["Text."], ["Text."]), PdfConfig()) == "Text.\n\nText."
    assert reason(pdf(["a"], ["b"], ["c"]), max_pages=2) == "too_many_pages: 3 pages, at most 2"
    assert reason(pdf(["a"], trailer=encrypt)) == "encrypted: a password is needed to read it"
    assert reason(b"%PDF-1.4 no more").startswith("parse_error: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We measured the tempera-\nture of it", "We measured the temperature of it"),
        ("A well-\nKnown name", "A well-\nKnown name"),
        (
            "The river rises in the hills and it\nRuns for many miles through fields\nThat were worked with care until"
            "\nthe end.\nNew paragraph that is as long as\nthe others are.",
            "The river rises in the hills and it Runs for many miles through fields That were worked with care until "
            "the end.\nNew paragraph that is as long as the others are.",
        ),
        (LIST, LIST),
        ("Title\n\nText", "Title\n\nText"),
    ],
)  # fmt: skip
def test_lines_are_joined_where_the_text_goes_on(text, expected):
    assert joined(text) == expected


@given(st.text(st.sampled_from("ab -\n.A1)"), max_size=200))
def test_joining_loses_no_word_character(text):
    def letters(value):
        return [c for c in value if c.isalnum()]

    assert letters(joined(text)) == letters(text)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=40), place=st.integers(0, 10**6), cut=st.booleans())
def test_damage_gives_a_text_or_a_reason(data, place, cut):
    good = pdf(["The first page."], None, ["Another."])
    place %= len(good)
    for payload in (data, good[:place] if cut else good[:place] + data + good[place + len(data) :]):
        try:
            text_of("pdf", payload, PdfConfig()).encode()
        except Unusable as error:
            assert error.reason in {"parse_error", "encrypted", "no_text_layer", "too_many_pages"}


@pytest.mark.parametrize("partition_bytes", [1000, 10**6])
def test_a_folder_of_pdf_files(run, tmp_path, partition_bytes):
    (tmp_path / "a.pdf").write_bytes(pdf(["The first page."]))
    (tmp_path / "b.pdf").write_bytes(pdf(None))
    (tmp_path / "c.pdf").write_bytes(b"oh")
    (tmp_path / "d.pdf").write_bytes(b"")
    run.collect(format="pdf", uris=[f"{tmp_path}/*.pdf"], base_url="https://x.org/")
    _, kept, rejected = run.documents([{"extract": {"pdf": {}}}], partition_bytes)
    assert [(row["url"], row["text"]) for row in kept] == [("https://x.org/a.pdf", "The first page.")]
    assert {row["warc_file"]: row["reason"] for row in rejected} == {
        "b.pdf": "no_text_layer", "c.pdf": "parse_error", "d.pdf": "parse_error"
    }  # fmt: skip


def test_pdf_is_read_only_when_it_is_asked_for(run, tmp_path, monkeypatch):
    (tmp_path / "a.pdf").write_bytes(pdf(["The first page."]))
    run.collect(format="pdf", uris=[f"{tmp_path}/a.pdf"])
    with pytest.raises(DataError, match="empty") as caught:
        run.documents()
    assert "unsupported_type (1)" in str(caught.value)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        validate(DocumentsConfig, {"sources": {"s": [{"extract": {"pdf": {}}}]}}, "documents")
    assert "headwater-data[pdf]" in str(caught.value)
