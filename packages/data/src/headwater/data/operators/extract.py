"""Text from payload bytes: HTML main content, source code kept whole, plain text passed on.

HTML goes through the extractor that `html` names (see `extractors`). With resiliparse, `scope: main` applies its
boilerplate heuristics and `scope: full` keeps all visible text (right for tables of reference text, where the
heuristics take content for navigation). docs/data-extraction.md compares the extractors.
"""

from __future__ import annotations

import importlib.util
import re
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import AfterValidator, BeforeValidator, Field

from headwater.core.config import NotValid, Whole
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.charset import Decoded, decode, looks_binary
from headwater.data.operators.extractors import by_type
from headwater.data.operators.extractors.guard import ParserFailed, ParserStopped, TextTooLarge, extract_guarded
from headwater.data.operators.extractors.nesting import is_small, nested_deeper
from headwater.data.operators.extractors.options import Options, extractor
from headwater.data.operators.language_codes import language_code
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
        kind = by_type.kind_of(media_type)
        if kind and (options := getattr(config, kind)) is not None:
            return self._from_document(decided, row, kind, payload, options)
        if not media_type.startswith(config.types):
            decided.reject(row, "unsupported_type", media_type[:200] or "no Content-Type")
            return ""
        if len(payload) > config.max_bytes:
            decided.reject(row, "too_large", f"{len(payload):,} bytes, at most {config.max_bytes:,}")
            return ""
        html = media_type in _HTML
        decoded = decode(payload, charset, html=html, max_replaced=config.max_replaced_ratio)
        if decoded is None:
            declared = charset[:40] or "nothing"
            decided.reject(row, "undecodable", f"declared {declared}; neither that nor what was detected fits")
            return ""
        if looks_binary(decoded.utf8, config.max_control_ratio):
            decided.reject(row, "binary", f"control characters in {decoded.encoding} text")
            return ""
        text = self._from_html(decided, row, decoded) if html else decoded.text
        if text is None:
            return ""
        text = clean_code(text) if is_code(media_type) else clean(text)
        if len(text) < config.min_characters or len(text.strip()) < config.min_characters:
            decided.reject(row, "too_short", f"{len(text)} characters, at least {config.min_characters}")
        elif decoded.encoding != "utf-8" or decoded.replaced:
            decided.change(row, "decoded", f"from {decoded.encoding}, {decoded.replaced} characters replaced")
            decided.count(f"decoded_{decoded.encoding}")
        return text

    def _from_document(self, decided: Decisions, row: int, kind: str, payload: bytes, options: Any) -> str:
        """The text of a PDF file, a wiki page or LaTeX."""
        if len(payload) > options.max_bytes:
            decided.reject(row, "too_large", f"{len(payload):,} bytes, at most {options.max_bytes:,}")
            return ""
        text = self._guarded(decided, row, payload, options, kind)
        if text is None:
            return ""
        text = clean(text)
        if len(text.strip()) < self.config.min_characters:
            decided.reject(row, "too_short", f"{len(text)} characters, at least {self.config.min_characters}")
        return text

    def _from_html(self, decided: Decisions, row: int, page: Decoded) -> str | None:
        """The page's text; None when it was rejected."""
        config = self.config
        if is_small(page.utf8):
            if not self._always_guarded:
                return self._direct(decided, row, page.text)
        elif depth := nested_deeper(page.utf8, config.max_depth):
            decided.reject(row, "too_deep", f"elements nested {depth:,} deep, at most {config.max_depth:,}")
            return None
        return self._guarded(decided, row, page.utf8, self._options, "html")

    def _direct(self, decided: Decisions, row: int, html: str) -> str | None:
        try:
            return extractor(self.config.html)(html, self._options)
        except Exception as error:  # a parser's failure on one page must not stop the job
            decided.reject(row, "parse_error", f"{type(error).__name__}: {str(error)[:200]}")
        return None

    def _guarded(self, decided: Decisions, row: int, payload: bytes, options: Any, kind: str) -> str | None:
        """The text; None when the row was rejected."""
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
        return None


def clean(text: str) -> str:
    """Line feeds as line ends, no-break spaces as spaces, no trailing blanks, at most one empty line in a row."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.replace("\u00a0", " ")
    # Searches for fixed strings, many times faster here than regular expressions: most lines end with no blank, or one.
    blanks = "\t" in text and "\t\n" in text
    for _ in range(0 if blanks else 3):
        if " \n" not in text:
            break
        text = text.replace(" \n", "\n")
    else:
        blanks = True
    if blanks or text.endswith((" ", "\t")):
        text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    while "\n\n\n" in text:  # a run of n line feeds is down to two after log(n) rounds
        text = text.replace("\n\n\n", "\n\n")
    return text.strip("\n")


def clean_code(text: str) -> str:
    """Source code keeps every character but carriage returns and what surrounds it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
