"""Text from payload bytes: HTML main content, source code kept whole, plain text passed on.

HTML goes through resiliparse (Bevendorff et al., "Elastic ChatNoir", ECIR 2018): `scope: main` applies its
boilerplate heuristics, `scope: full` keeps all visible text (right for tables of reference text, where the
heuristics take content for navigation). `html: trafilatura` (Barbaresi, ACL 2021) is the slower quality profile.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import AfterValidator, Field

from headwater.core.config import NotValid, Whole
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.charset import decode, looks_binary
from headwater.data.rows import is_code, with_column

_HTML = ("text/html", "application/xhtml+xml")
_BLANK_LINES = re.compile(r"\n{3,}")
_SPACE_BEFORE_END = re.compile(r"[ \t\u00a0]+$", re.MULTILINE)
_SNIFF = re.compile(rb"^\s{0,64}(?:<!doctype\s+html|<html[\s>])", re.IGNORECASE)


def _selector(value: str) -> str:
    from resiliparse.parse.html import HTMLTree
    from resiliparse.parse.html.exception import CSSParserException

    body = HTMLTree.parse("<headwater-end></headwater-end>").body
    assert body is not None
    try:
        body.query_selector(value)
        # The extractor joins the selectors with commas: one that leaves a quote or bracket open takes the next ones in.
        closed = body.query_selector(f"{value}, headwater-end") is not None
    except CSSParserException as error:
        reason = str(error).splitlines()[0].removeprefix("CSS parser error: ")
        raise NotValid(f"a CSS selector that the extractor can read, for example nav ({reason})") from error
    if not closed:
        raise NotValid("a CSS selector in which every quote and bracket is closed")
    return value


Selector = Annotated[str, AfterValidator(_selector)]
"""A CSS selector that the extractor can read."""


class ExtractConfig(OperatorConfig):
    """Options of `extract`.

    Attributes:
        html: The extractor.
        scope: Main content only, or all visible text (resiliparse).
        skip: CSS selectors of elements to leave out (resiliparse).
        types: Media type prefixes that are read; others are set aside.
        max_bytes: Largest payload, in bytes.
        min_characters: Shortest text.
        max_replaced_ratio: Share of undecodable characters allowed in a page.
        max_control_ratio: Share of control characters from which a payload counts as binary.
    """

    html: Literal["resiliparse", "trafilatura"] = "resiliparse"
    scope: Literal["main", "full"] = "main"
    skip: tuple[Selector, ...] = ()
    types: tuple[str, ...] = ("text/", "application/xhtml+xml", "application/javascript", "application/json",
                              "application/x-sh", "application/x-python")  # fmt: skip
    max_bytes: Whole = Field(default=16 * 1024 * 1024, ge=1)
    min_characters: Whole = Field(default=1, ge=1)
    max_replaced_ratio: float = Field(default=0.001, ge=0, le=1)
    max_control_ratio: float = Field(default=0.002, ge=0, le=1)


class Extract(Operator):
    """Fills `text` from `payload` and empties `payload`."""

    name = "extract"
    reasons = frozenset({"http_status", "unsupported_type", "too_large", "undecodable", "binary", "parse_error",
                         "too_short", "decoded"})  # fmt: skip
    changes = True
    config: ExtractConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `payload`, `content_type`, `charset`, `http_status`."""
        decided = Decisions(self, batch)
        columns = [batch.column(name).to_pylist() for name in ("payload", "content_type", "charset", "http_status")]
        texts = [self._one(decided, row, *values) for row, values in enumerate(zip(*columns, strict=True))]
        result = with_column(batch, "text", pa.array(texts, pa.string()))
        return decided.verdicts(with_column(result, "payload", pa.array([b""] * len(texts), pa.binary())))

    def _one(self, decided: Decisions, row: int, payload: bytes, media_type: str, charset: str, status: int) -> str:
        config = self.config
        if status and not 200 <= status < 300:
            decided.reject(row, "http_status", f"status {status}")
            return ""
        if not media_type and _SNIFF.match(payload[:512]):
            media_type = "text/html"
        if not media_type.startswith(config.types):
            decided.reject(row, "unsupported_type", media_type or "no Content-Type")
            return ""
        if len(payload) > config.max_bytes:
            decided.reject(row, "too_large", f"{len(payload):,} bytes, at most {config.max_bytes:,}")
            return ""
        html = media_type in _HTML
        decoded = decode(payload, charset, html=html, max_replaced=config.max_replaced_ratio)
        if decoded is None:
            decided.reject(
                row, "undecodable", f"declared {charset or 'nothing'}; neither that nor what was detected fits"
            )
            return ""
        if looks_binary(decoded.text, config.max_control_ratio):
            decided.reject(row, "binary", f"control characters in {decoded.encoding} text")
            return ""
        try:
            text = self._from_html(decoded.text) if html else decoded.text
        except Exception as error:  # a parser's failure on one page must not stop the job
            decided.reject(row, "parse_error", f"{type(error).__name__}: {str(error)[:200]}")
            return ""
        text = _clean_code(text) if is_code(media_type) else _clean(text)
        if len(text.strip()) < config.min_characters:
            decided.reject(row, "too_short", f"{len(text)} characters, at least {config.min_characters}")
        elif decoded.encoding != "utf-8" or decoded.replaced:
            decided.change(row, "decoded", f"from {decoded.encoding}, {decoded.replaced} characters replaced")
            decided.count(f"decoded_{decoded.encoding}")
        return text

    def _from_html(self, html: str) -> str:
        if self.config.html == "trafilatura":
            import trafilatura

            return trafilatura.extract(html, include_comments=False, favor_precision=False) or ""
        from resiliparse.extract.html2text import extract_plain_text

        return extract_plain_text(
            html, main_content=self.config.scope == "main", preserve_formatting=True, alt_texts=False,
            skip_elements=list(self.config.skip) or None,
        )  # fmt: skip


def _clean(text: str) -> str:
    """Line feeds as line ends, no-break spaces as spaces, no trailing blanks, at most one empty line in a row."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " ")
    text = _SPACE_BEFORE_END.sub("", text)
    return _BLANK_LINES.sub("\n\n", text).strip("\n")


def _clean_code(text: str) -> str:
    """Source code keeps every character but carriage returns and what surrounds it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
