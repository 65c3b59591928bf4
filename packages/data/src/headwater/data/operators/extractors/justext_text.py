"""jusText (Pomikálek, "Removing Boilerplate and Duplicate Content from Web Corpora", 2011): blocks by stop words.

jusText knows prose by its share of stop words, so it needs the list of the page's language. That is told from the
page's visible text; a language without a list takes jusText's language-independent mode (length and links decide),
and a page whose language cannot be told takes the language that it declares, then the recipe's.
"""

from __future__ import annotations

import re
from functools import lru_cache

from headwater.data.operators.extractors.options import Options
from headwater.data.operators.language_codes import LANGUAGES

_SURE = 0.5  # least score of the language model for its answer to be believed
_DECLARED = re.compile(r"<html[^>]{0,500}?\slang\s{0,8}=\s{0,8}[\"']?([a-zA-Z]{2,3})", re.IGNORECASE)

# jusText tells prose by its length in characters. These take about two for a word that has six, with its space, in
# English; with thresholds made for alphabets, whole articles count as short.
_DENSE = ("zh", "ja", "yue", "wuu")
# Where jusText names a list otherwise than the table of languages does.
_NAMES = {
    "fy": "West_Frisian", "ht": "Haitian", "nds": "Low_Saxon", "no": "Norwegian_Bokmal", "pnb": "Western_Panjabi",
    "sh": "Serbo_Croatian", "vo": "Volapuk", "war": "Waray_Waray", "bpy": "Bishnupriya_Manipuri",
}  # fmt: skip


def extract(html: str, options: Options) -> str:
    """The paragraphs that jusText takes for content, one a line."""
    from justext.core import (
        LENGTH_HIGH_DEFAULT,
        LENGTH_LOW_DEFAULT,
        STOPWORDS_HIGH_DEFAULT,
        STOPWORDS_LOW_DEFAULT,
        justext,
    )

    language = _language(html, options.stop_words)
    words = stop_words(language)
    # Without a list, nothing may depend on stop words: every paragraph has "enough" of them.
    low, high = (STOPWORDS_LOW_DEFAULT, STOPWORDS_HIGH_DEFAULT) if words else (0.0, 0.0)
    shrink = 3 if language in _DENSE else 1
    paragraphs = justext(
        html, words, length_low=LENGTH_LOW_DEFAULT // shrink, length_high=LENGTH_HIGH_DEFAULT // shrink,
        stopwords_low=low, stopwords_high=high,
    )  # fmt: skip
    return "\n".join(paragraph.text for paragraph in paragraphs if not paragraph.is_boilerplate)


def _language(html: str, fallback: str) -> str:
    from resiliparse.extract.html2text import extract_plain_text

    from headwater.data.operators.language import identify

    # The main content first: menus are short, and on many pages in another language than the text.
    text = extract_plain_text(html, main_content=True, alt_texts=False)
    if len(text) < 100:
        text = extract_plain_text(html, main_content=False, alt_texts=False)
    found, score = identify(text[:2000])
    if score >= _SURE:
        return found
    declared = _DECLARED.search(html[:4000])
    return declared[1].lower() if declared and stop_words(declared[1].lower()) else fallback


@lru_cache(maxsize=256)
def stop_words(language: str) -> frozenset[str]:
    """JusText's stop words of a language (ISO 639-1, or 639-3 where there is none); empty when it has no list."""
    from justext.utils import get_stoplist, get_stoplists

    name = _NAMES.get(language) or LANGUAGES.get(language, "").replace(" ", "_")
    return get_stoplist(name) if name in get_stoplists() else frozenset()
