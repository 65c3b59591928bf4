"""Media types that are neither HTML nor text, and the module that makes text of each.

A recipe switches a kind on by naming its options: `extract: {pdf: {}}`. Payloads of a kind that is not switched on are
set aside as of an unsupported type.
"""

from __future__ import annotations

import importlib.util
from importlib import import_module
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from headwater.core.config import NotValid, Section, Whole

MEDIAWIKI = "application/vnd.mediawiki.page+xml"
LATEX_ARCHIVE = "application/x-eprint-tar"

_KINDS = {
    "application/pdf": "pdf", "application/x-pdf": "pdf", MEDIAWIKI: "mediawiki", LATEX_ARCHIVE: "latex",
    "application/x-eprint": "latex", "application/x-tex": "latex", "application/x-latex": "latex",
    "text/x-tex": "latex",
}  # fmt: skip
_PACKAGES = {"pdf": "pypdfium2", "mediawiki": "mwparserfromhell", "latex": "pylatexenc"}

REASONS = frozenset({"encrypted", "no_text_layer", "too_many_pages", "redirect", "not_an_article", "no_main_file"})
"""Why these modules set a payload aside, besides what every extractor may find."""


class Unusable(Exception):
    """What an extractor raises for a payload that it has no text of.

    Args:
        reason: Of `REASONS`, or "too_large" or "parse_error".
        detail: The figures that decided.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class PdfConfig(Section):
    """PDF files: the text layer, page by page.

    Attributes:
        max_bytes: Largest file.
        max_pages: Most pages.
        max_scanned_ratio: Share of pages that may be images without text.
        join_lines: Put words and lines together again that the layout has broken.
    """

    max_bytes: Whole = Field(default=64 * 1024 * 1024, ge=1)
    max_pages: Whole = Field(default=1_000, ge=1)
    max_scanned_ratio: float = Field(default=0.5, ge=0, le=1)
    join_lines: bool = True


class MediawikiConfig(Section):
    """Pages of MediaWiki dumps.

    Attributes:
        max_bytes: Largest page.
        namespaces: Numbers of the namespaces that are kept; 0 is that of articles.
        tables: Keep the text of tables.
    """

    max_bytes: Whole = Field(default=4 * 1024 * 1024, ge=1)
    namespaces: tuple[Whole, ...] = (0,)
    tables: bool = False


class LatexConfig(Section):
    """LaTeX: one file, or a project in a (gzipped) tar archive as arXiv keeps it.

    Attributes:
        max_bytes: Largest file or archive, also when inflated.
        max_source_bytes: Largest TeX source, with the files that it reads put in their places.
        math: Keep formulas as they are written ("verbatim"), as Unicode text ("text"), or leave them out ("remove").
    """

    max_bytes: Whole = Field(default=32 * 1024 * 1024, ge=1)
    max_source_bytes: Whole = Field(default=1_000_000, ge=1)
    math: Literal["verbatim", "text", "remove"] = "verbatim"


def _installed(kind: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        # Told before anything starts, and not by every document.
        if value is not None and importlib.util.find_spec(_PACKAGES[kind]) is None:
            raise NotValid(f"that {_PACKAGES[kind]} is installed", f"pip install 'headwater-data[{kind}]'")
        return value

    return BeforeValidator(check)


CONFIGS: dict[str, type[Section]] = {"pdf": PdfConfig, "mediawiki": MediawikiConfig, "latex": LatexConfig}

Pdf = Annotated[PdfConfig | None, _installed("pdf")]
Mediawiki = Annotated[MediawikiConfig | None, _installed("mediawiki")]
Latex = Annotated[LatexConfig | None, _installed("latex")]


def kind_of(media_type: str) -> str:
    """The kind of a media type: pdf, mediawiki or latex; "" for all others."""
    return _KINDS.get(media_type, "")


def text_of(kind: str, payload: bytes, config: Any) -> str:
    """The text of a payload. Run under `guard`: what the parsers do with a hostile one is not bounded.

    Args:
        kind: As `kind_of`.
        payload: The bytes, at most `config.max_bytes`.
        config: The options of that kind.

    Raises:
        Unusable: It has none.
    """
    try:
        text: str = import_module(f"headwater.data.operators.extractors.{kind}_text").extract(payload, config)
        return text.encode("utf-8", "replace").decode("utf-8")
    except Unusable:
        raise
    except RecursionError as error:
        raise Unusable("parse_error", "nested too deeply") from error
    except Exception as error:  # a parser's failure on one document must not stop the job
        raise Unusable("parse_error", f"{type(error).__name__}: {str(error)[:200]}") from error
