# ruff: noqa: E501 — whole lines of text are the data here
import pytest

from headwater.data.operators.charset import decode
from headwater.data.operators.extract import Extract, ExtractConfig


def extract(rows, payload, content_type="text/html", charset="", status=200, **options):
    verdicts = Extract(ExtractConfig(**options)).process(
        rows(payloads=[payload], content_type=content_type, charset=charset, status=status)
    )
    return verdicts, verdicts.batch.column("text")[0].as_py()


def test_main_content_leaves_navigation_out_and_full_keeps_it(rows):
    html = b"""<html><body><nav><ul><li><a href=/>Home</a></li><li><a href=/a>About us</a></li></ul></nav>
    <main><article><h1>Bridges</h1><p>A bridge carries a road over a river, and has done so for a long time.</p></article></main>
    <footer>Imprint</footer></body></html>"""
    _, main = extract(rows, html)
    assert "carries a road" in main and "About us" not in main and "Imprint" not in main
    _, full = extract(rows, html, scope="full")
    assert "carries a road" in full and "About us" in full
    _, skipped = extract(rows, html, scope="full", skip=["nav", "footer"])
    assert "carries a road" in skipped and "About us" not in skipped and "Imprint" not in skipped


def test_preformatted_code_keeps_its_white_space(rows):
    html = b"<html><body><main><p>Look:</p><pre>def f(x):\n    if x:\n        return  1\n</pre></main></body></html>"
    _, text = extract(rows, html)
    assert "def f(x):\n    if x:\n        return  1" in text


def test_no_break_spaces_and_trailing_blanks_are_normalised(rows):
    _, text = extract(rows, b"<body><p>a&nbsp;&nbsp;b   </p></body>", scope="full")
    assert text == "a  b"


def test_source_code_is_kept_whole_with_its_comments(rows):
    code = "# a comment\r\n\r\n\r\n\r\nx = 1   \r\n\tpass  # done\r\n"
    _, text = extract(rows, code.encode(), "text/x-python")
    assert text == "# a comment\n\n\n\nx = 1   \n\tpass  # done"


@pytest.mark.parametrize(
    ("payload", "charset", "expected"),
    [
        ("<p>Größe und Maß</p>".encode("latin-1"), "iso-8859-1", "Größe und Maß"),
        ("<p>Größe und Maß</p>".encode(), "iso-8859-1", "Größe und Maß"),  # a false label: the bytes are UTF-8
        ('<meta charset="windows-1251"><p>Большая река</p>'.encode("cp1251"), "", "Большая река"),
        ("\ufeff<p>Fluß</p>".encode("utf-16"), "", "Fluß"),
        (
            "<p>日本語のページです。川が流れています。</p>".encode("shift_jis"),
            "shift_jis",
            "日本語のページです。川が流れています。",
        ),
        ("<p>日本語のページ</p>".encode("iso2022_jp"), "iso-2022-jp", "日本語のページ"),
        ("<p>Größe</p>".encode("latin-1"), "no-such-charset", "Größe"),
    ],
)
def test_non_utf8_pages_are_decoded(rows, payload, charset, expected):
    verdicts, text = extract(rows, payload, charset=charset, scope="full")
    assert verdicts.outcomes[0] != "reject", verdicts.details
    assert expected in text


def test_detected_charset_is_noted_in_the_verdict(rows):
    verdicts, _ = extract(rows, "<p>Größe</p>".encode("latin-1"), charset="latin-1", scope="full")
    assert verdicts.outcomes == ["change"] and verdicts.reasons == ["decoded"] and "cp1252" in verdicts.details[0]


def test_python_source_follows_its_coding_cookie(rows):
    code = "# -*- coding: koi8-r -*-\ns = 'река'\n"
    _, text = extract(rows, code.encode("koi8-r"), "text/x-python")
    assert "река" in text


@pytest.mark.parametrize(
    ("payload", "content_type", "status", "reason"),
    [
        (b"\x00\x01\x02\xff\xfe\x80" * 200, "text/html", 200, "undecodable"),
        (b"abc\x01\x02\x03\x04" * 100, "text/plain", 200, "binary"),
        (b"%PDF-1.4", "application/pdf", 200, "unsupported_type"),
        (b"<p>gone</p>", "text/html", 404, "http_status"),
        (b"<html><body></body></html>", "text/html", 200, "too_short"),
        (b"x" * 101, "text/plain", 200, "too_large"),
    ],
)
def test_what_cannot_be_read_is_set_aside_with_its_reason(rows, payload, content_type, status, reason):
    limit = 100 if reason == "too_large" else 10_000
    verdicts, _ = extract(rows, payload, content_type, status=status, max_bytes=limit)
    assert verdicts.reasons == [reason]
    assert verdicts.rejected.num_rows == 1 and verdicts.kept.num_rows == 0
    assert verdicts.rejected.column("operator")[0].as_py() == "extract"


def test_a_few_damaged_bytes_are_replaced_and_many_are_not():
    good = ("Eine Straße führt über die Brücke. " * 200).encode()
    found = decode(good[:3000] + b"\xff" + good[3000:], "utf-8", html=False, max_replaced=0.001)
    assert found is not None and "Straße" in found.text


def test_trafilatura_profile(rows):
    pytest.importorskip("trafilatura")
    paragraph = "The bridge carries the road over the river, and it has done so for more than a hundred years. " * 5
    html = f"<html><body><nav>Menu</nav><article><h1>Bridge</h1><p>{paragraph}</p></article></body></html>"
    _, text = extract(rows, html.encode(), html="trafilatura")
    assert "carries the road" in text and "Menu" not in text


WORDS = {
    "en": "The bridge carries the road over the river, and it has done so for as long as anybody can remember it. ",
    "de": "Die Brücke trägt die Straße über den Fluss, und das tut sie, so lange sich jemand daran erinnern kann. ",
    "ja": "古い橋は川の上に道を通していて、誰もが覚えている限りずっとそうしてきた。霧が晴れるまで門は開かない。",
    "no": "Broen bærer veien over elven, og det har den gjort så lenge noen kan huske at den har vært der. ",
}


@pytest.mark.parametrize("language", WORDS)
def test_justext_profile_takes_the_language_of_the_page(rows, language):
    pytest.importorskip("justext")
    menu = "".join(f"<li><a href='/{i}'>Menu {i}</a></li>" for i in range(12))
    paragraphs = f"<p>{WORDS[language] * 3}</p>" * 2
    html = f"<html lang='en'><body><ul>{menu}</ul><div>{paragraphs}</div></body></html>"  # the label is false for most
    _, text = extract(rows, html.encode(), html="justext", stop_words="en")
    assert text == "\n".join([(WORDS[language] * 3).strip()] * 2)


def test_justext_falls_back_to_the_declared_and_then_to_the_given_language():
    pytest.importorskip("justext")
    from headwater.data.operators.extractors.justext_text import _language, stop_words

    assert _language("<html lang=fr><p>12 345</p>", "de") == "fr"
    assert _language("<html lang=xx><p>12 345</p>", "de") == "de"
    assert "und" in stop_words("de") and not stop_words("ja") and not stop_words("nowhere")


def test_comments_can_be_left_out(rows):
    text = "<p>The bridge carries the road over the river, and it has done so for a hundred years or more.</p>" * 4
    html = f"<body><article>{text}</article><div class='comments'><p>First of all, I do not think so.</p></div></body>"
    for comments, kept in ((None, True), (True, True), (False, False)):
        _, found = extract(rows, html.encode(), comments=comments)
        assert ("First of all" in found) == kept


def test_an_extractor_that_is_not_installed_is_refused_before_anything_starts(monkeypatch):
    from headwater.data.operators import extract as module

    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="an extractor that is installed"):
        ExtractConfig(html="justext")


def test_payload_is_dropped_and_rows_stay_in_order(rows):
    batch = rows(payloads=[b"one", b"\x00", b"three"], content_type="text/plain")
    verdicts = Extract(ExtractConfig()).process(batch)
    assert verdicts.kept.column("text").to_pylist() == ["one", "three"]
    assert verdicts.batch.column("payload").to_pylist() == [b"", b"", b""]
