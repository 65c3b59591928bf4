"""What an extractor is asked, and the function that each name of `extract.html` stands for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module


@dataclass(frozen=True, slots=True)
class Options:
    """What an extractor is asked.

    Attributes:
        html: The extractor's name.
        scope: "main" content, or "full" visible text (resiliparse).
        skip: CSS selectors of elements to leave out (resiliparse).
        comments: Whether comments under a text are kept; None leaves it to the extractor.
        stop_words: ISO 639-1 code of the stop words for pages whose language cannot be told (justext).
    """

    html: str
    scope: str = "main"
    skip: tuple[str, ...] = ()
    comments: bool | None = None
    stop_words: str = "en"


Extractor = Callable[[str, Options], str]

# Imported when used: of three extractors, most recipes need one.
_MODULES = {"resiliparse": "resiliparse_text", "trafilatura": "trafilatura_text", "justext": "justext_text"}


@cache
def extractor(name: str) -> Extractor:
    """The function that turns a page into text."""
    return import_module(f"headwater.data.operators.extractors.{_MODULES[name]}").extract
