"""The text layer of PDF files, by PDFium. Pages that are images are counted; no characters are recognised in them."""

from __future__ import annotations

import re
from typing import Any

from headwater.data.operators.extractors.by_type import PdfConfig, Unusable

_IMAGE = 3  # FPDF_PAGEOBJ_IMAGE
_PASSWORD = 4  # FPDF_ERR_PASSWORD
_HYPHEN = re.compile(r"[\x02\ufffe]")  # PDFium's own sign for a hyphen at the end of a line
_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufffe\uffff]")
_BROKEN_WORD = re.compile(r"(?<=[^\W\d_])[-\u2010\u00ad]$")
_LIST = re.compile(r"(?:[-*•–—▪◦]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s")
_FULL_LINE_RATIO = 0.75  # of the usual line: a shorter one ends its paragraph


def extract(payload: bytes, config: PdfConfig) -> str:
    """The text of all pages, an empty line between two.

    Raises:
        Unusable: encrypted, too_many_pages, no_text_layer, parse_error.
    """
    import pypdfium2

    try:
        document: Any = pypdfium2.PdfDocument(payload)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _PASSWORD or "password" in str(error).lower():
            raise Unusable("encrypted", "a password is needed to read it") from error
        raise Unusable("parse_error", str(error)[:200]) from error
    try:
        count = len(document)
        if count > config.max_pages:
            raise Unusable("too_many_pages", f"{count:,} pages, at most {config.max_pages:,}")
        pages: list[str] = []
        scanned = broken = 0
        for number in range(count):
            try:
                text, images = _page(document, number)
            except pypdfium2.PdfiumError:
                broken += 1
                continue
            pages.append(joined(text) if config.join_lines else text)
            scanned += images and not text.strip()
        if count and broken == count:
            raise Unusable("parse_error", f"none of {count:,} pages can be read")
        if count and scanned > config.max_scanned_ratio * count:
            raise Unusable("no_text_layer", f"{scanned:,} of {count:,} pages are images without text")
        return "\n\n".join(page for page in pages if page.strip())
    finally:
        document.close()


def _page(document: Any, number: int) -> tuple[str, bool]:
    """The text of a page, and whether it has images (looked for only where there is no text)."""
    page = document[number]
    try:
        layer = page.get_textpage()
        try:
            text = _HYPHEN.sub("-", layer.get_text_bounded()).replace("\r\n", "\n").replace("\r", "\n")
        finally:
            layer.close()
        text = _NO_TEXT.sub("", text)
        images = not text.strip() and any(True for _ in page.get_objects(filter=[_IMAGE], max_depth=4))
        return text, images
    finally:
        page.close()


def joined(text: str) -> str:
    """Lines of running text put together into paragraphs, and the words that were broken at their ends.

    A line goes on in the next one when it is about as long as lines of the page usually are, or when the next one
    begins in lower case; list items begin a line of their own. Short pages stay as they are but for broken words.
    """
    lines = [line.rstrip() for line in text.split("\n")]
    lengths = sorted(len(line) for line in lines if line)
    usual = lengths[int(0.8 * (len(lengths) - 1))] if len(lengths) >= 4 else 1 << 30
    out: list[str] = []
    open_line = False  # whether the last line of `out` goes on
    for line in lines:
        following = line.lstrip()
        if out and following and out[-1]:
            if following[0].islower() and _BROKEN_WORD.search(out[-1]):
                out[-1] = _BROKEN_WORD.sub("", out[-1]) + following
                open_line = len(line) >= _FULL_LINE_RATIO * usual
                continue
            if (open_line or following[0].islower()) and not _LIST.match(following):
                out[-1] = f"{out[-1]} {following}"
                open_line = len(line) >= _FULL_LINE_RATIO * usual
                continue
        out.append(line)
        open_line = len(line) >= _FULL_LINE_RATIO * usual
    return "\n".join(out)
