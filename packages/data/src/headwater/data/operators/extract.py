"""Text from payload bytes: HTML main content, source code kept whole, plain text passed on.

HTML goes through the extractor that `html` names (see `extractors`). With resiliparse, `scope: main` applies its
boilerplate heuristics and `scope: full` keeps all visible text (right for tables of reference text, where the
heuristics take content for navigation). docs/data-extraction.md compares the extractors.
"""

from __future__ import annotations

import importlib.util
import re
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, BeforeValidator, Field

from headwater.core.config import NotValid, Whole
from headwater.data.arrow import compute
from headwater.data.operators.base import REJECT, Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.charset import Decoded, decode, looks_binary
from headwater.data.operators.extractors import by_type
from headwater.data.operators.extractors.guard import ParserFailed, ParserStopped, TextTooLarge, extract_guarded
from headwater.data.operators.extractors.nesting import is_small, nested_deeper
from headwater.data.operators.extractors.options import Options, extractor
from headwater.data.operators.language_codes import language_code
from headwater.data.operators.text_cleaning import cleaned
from headwater.data.rows import is_code, with_column

_HTML = ("text/html", "application/xhtml+xml")
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


def _installed(value: str) -> str:
    # Told before anything starts, and not by every page.
    if importlib.util.find_spec(value) is None:
        raise NotValid(f"an extractor that is installed ({value} is not)", f"pip install 'headwater-data[{value}]'")
    return value


Html = Annotated[Literal["resiliparse", "trafilatura", "justext"], AfterValidator(_installed)]
"""The name of an extractor, which is also that of the package that it comes from."""

Selector = Annotated[str, AfterValidator(_selector)]
"""A CSS selector that the extractor can read."""


class ExtractConfig(OperatorConfig):
    """Options of `extract`.

    Attributes:
        html: The extractor. trafilatura and justext are extras of this package.
        scope: Main content only, or all visible text (resiliparse).
        skip: CSS selectors of elements to leave out (resiliparse).
        comments: Whether comments under a text are kept (resiliparse, trafilatura); null leaves it to the extractor:
            resiliparse keeps them, trafilatura does not.
        stop_words: Language whose stop words jusText takes for pages in a language that cannot be told.
        types: Media type prefixes that are read; others are set aside.
        pdf, mediawiki, latex: Options of these kinds of documents (extras of this package); null sets them aside.
        max_bytes: Largest payload, and largest text, in bytes.
        max_depth: Deepest nesting of elements in a page of more than 3,000 tags or 200,000 bytes.
        max_seconds: Processor time for one page; far above what any page within the other limits should take.
        min_characters: Shortest text.
        max_replaced_ratio: Share of undecodable characters allowed in a page.
        max_control_ratio: Share of control characters from which a payload counts as binary.
    """

    html: Html = "resiliparse"
    scope: Literal["main", "full"] = "main"
    skip: tuple[Selector, ...] = ()
    comments: bool | None = None
    stop_words: Annotated[str, BeforeValidator(language_code)] = "en"
    types: tuple[str, ...] = ("text/", "application/xhtml+xml", "application/javascript", "application/json",
                              "application/x-sh", "application/x-python")  # fmt: skip
    pdf: by_type.Pdf = None
    mediawiki: by_type.Mediawiki = None
    latex: by_type.Latex = None
    max_bytes: Whole = Field(default=16 * 1024 * 1024, ge=1)
    max_depth: Whole = Field(default=1_000, ge=100)
    max_seconds: float = Field(default=30, ge=1, le=3600)
    min_characters: Whole = Field(default=1, ge=1)
    max_replaced_ratio: float = Field(default=0.001, ge=0, le=1)
    max_control_ratio: float = Field(default=0.002, ge=0, le=1)


class _Extracted(NamedTuple):
    """What became of a payload.

    Attributes:
        text: As the extractor gives it; empty for a row that was rejected.
        whole: Whether it is kept as it is.
        decoded: The encoding and how many characters were replaced, unless it simply is UTF-8.
    """

    text: str = ""
    whole: bool = False
    decoded: tuple[str, int] | None = None


_NOTHING = _Extracted()


class Extract(Operator):
    """Fills `text` from `payload` and empties `payload`."""

    name = "extract"
    reasons = frozenset({"http_status", "unsupported_type", "too_large", "undecodable", "binary", "too_deep",
                         "parse_error", "parse_timeout", "too_short", "decoded"}) | by_type.REASONS  # fmt: skip
    changes = True
    config: ExtractConfig

    def __init__(self, config: ExtractConfig) -> None:
        super().__init__(config)
        self._options = Options(config.html, config.scope, config.skip, config.comments, config.stop_words)
        # These two take a paragraph for their unit, and time that is quadratic in the paragraphs of a small page.
        self._always_guarded = config.html != "resiliparse"

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `payload`, `content_type`, `charset`, `http_status`."""
        decided = Decisions(self, batch)
        columns = [batch.column(name).to_pylist() for name in ("payload", "content_type", "charset", "http_status")]
        found = [self._one(decided, row, *values) for row, values in enumerate(zip(*columns, strict=True))]
        texts = cleaned([each.text for each in found], [each.whole for each in found])
        self._set_short_ones_aside(decided, texts)
        for row, each in enumerate(found):
            if each.decoded and decided.outcomes[row] != REJECT:
                encoding, replaced = each.decoded
                decided.change(row, "decoded", f"from {encoding}, {replaced} characters replaced")
                decided.count(f"decoded_{encoding}")
        result = with_column(batch, "text", texts)
        return decided.verdicts(with_column(result, "payload", pa.array([b""] * len(found), pa.binary())))

    def _set_short_ones_aside(self, decided: Decisions, texts: Any) -> None:
        least = self.config.min_characters
        sizes = compute.binary_length(compute.utf8_trim_whitespace(texts)).to_numpy()
        for row in np.flatnonzero(sizes < 4 * least).tolist():  # a character has up to four bytes
            text = texts[row].as_py()
            if len(text.strip()) < least:
                decided.reject(row, "too_short", f"{len(text)} characters, at least {least}")

    def _one(
        self, decided: Decisions, row: int, payload: bytes, media_type: str, charset: str, status: int
    ) -> _Extracted:
        config = self.config
        if status and not 200 <= status < 300:
            decided.reject(row, "http_status", f"status {status}")
            return _NOTHING
        if not media_type and _SNIFF.match(payload[:512]):
            media_type = "text/html"
        kind = by_type.kind_of(media_type)
        if kind and (options := getattr(config, kind)) is not None:
            return self._from_document(decided, row, kind, payload, options)
        if not media_type.startswith(config.types):
            decided.reject(row, "unsupported_type", media_type[:200] or "no Content-Type")
            return _NOTHING
        if len(payload) > config.max_bytes:
            decided.reject(row, "too_large", f"{len(payload):,} bytes, at most {config.max_bytes:,}")
            return _NOTHING
        html = media_type in _HTML
        decoded = decode(payload, charset, html=html, max_replaced=config.max_replaced_ratio)
        if decoded is None:
            declared = charset[:40] or "nothing"
            decided.reject(row, "undecodable", f"declared {declared}; neither that nor what was detected fits")
            return _NOTHING
        if looks_binary(decoded.utf8, config.max_control_ratio):
            decided.reject(row, "binary", f"control characters in {decoded.encoding} text")
            return _NOTHING
        text = self._from_html(decided, row, decoded) if html else decoded.text
        unusual = decoded.encoding != "utf-8" or decoded.replaced
        return _Extracted(text, is_code(media_type), (decoded.encoding, decoded.replaced) if unusual else None)

    def _from_document(self, decided: Decisions, row: int, kind: str, payload: bytes, options: Any) -> _Extracted:
        """The text of a PDF file, a wiki page or LaTeX."""
        if len(payload) > options.max_bytes:
            decided.reject(row, "too_large", f"{len(payload):,} bytes, at most {options.max_bytes:,}")
            return _NOTHING
        return _Extracted(self._guarded(decided, row, payload, options, kind))

    def _from_html(self, decided: Decisions, row: int, page: Decoded) -> str:
        """The page's text; empty when it was rejected."""
        config = self.config
        if is_small(page.utf8):
            if not self._always_guarded:
                return self._direct(decided, row, page.text)
        elif depth := nested_deeper(page.utf8, config.max_depth):
            decided.reject(row, "too_deep", f"elements nested {depth:,} deep, at most {config.max_depth:,}")
            return ""
        return self._guarded(decided, row, page.utf8, self._options, "html")

    def _direct(self, decided: Decisions, row: int, html: str) -> str:
        try:
            return extractor(self.config.html)(html, self._options)
        except Exception as error:  # a parser's failure on one page must not stop the job
            decided.reject(row, "parse_error", f"{type(error).__name__}: {str(error)[:200]}")
        return ""

    def _guarded(self, decided: Decisions, row: int, payload: bytes, options: Any, kind: str) -> str:
        """The text; empty when the row was rejected."""
        try:
            return extract_guarded(payload, options, self.config.max_seconds, self.config.max_bytes, kind)
        except by_type.Unusable as error:
            decided.reject(row, error.reason, str(error))
        except TextTooLarge as error:
            decided.reject(row, "too_large", str(error))
        except ParserStopped as error:
            decided.reject(row, "parse_timeout" if error.by_limit else "parse_error", str(error))
        except ParserFailed as error:
            decided.reject(row, "parse_error", str(error))
        return ""
