"""Rules of C4 (Raffel et al., JMLR 21(140), 2020, section 2.2): lines that are no sentences, pages that are no text."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
from pydantic import Field

from headwater.core.config import Whole
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.text_split import TextSplit, split_of
from headwater.data.rows import with_column

_CITATION = re.compile(r"\[(?:\d{0,6}|edit|citation needed)\]")
_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]{0,3}(?=\s|$)")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


class C4Config(OperatorConfig):
    """Options of `c4`; the defaults are the paper's (the word list of the paper is not applied).

    Attributes:
        only_terminal_lines: Drop lines that do not end in . ! ? or a quotation mark.
        min_words_per_line: Drop shorter lines.
        max_word_characters: Drop lines with a longer word; null: any length.
        drop_javascript_lines, drop_policy_lines: Drop lines that speak of JavaScript, of cookies and terms of use.
        remove_citations: Take [1], [edit] and [citation needed] out.
        reject_lorem_ipsum, reject_curly_bracket: Set the whole document aside.
        min_sentences: Fewest sentences in what is left; 0: any.
    """

    only_terminal_lines: bool = True
    min_words_per_line: Whole = Field(default=3, ge=0)
    max_word_characters: Whole | None = Field(default=1000, ge=1)
    drop_javascript_lines: bool = True
    drop_policy_lines: bool = True
    remove_citations: bool = True
    reject_lorem_ipsum: bool = True
    reject_curly_bracket: bool = True
    min_sentences: Whole = Field(default=5, ge=0)


class C4(Operator):
    """Drops lines and sets documents aside. A line is what a line feed ends; sentences end at . ! ? before a space."""

    name = "c4"
    reasons = frozenset({"lorem_ipsum", "curly_bracket", "too_few_sentences", "lines_dropped"})
    changes = True
    config: C4Config

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads and changes `text`."""
        decided, split = Decisions(self, batch), split_of(batch)
        good = self._good_lines(split)
        texts = [
            self._one(decided, row, text, good[split.first_lines[row] : split.first_lines[row + 1]])
            for row, text in enumerate(split.texts)
        ]
        return decided.verdicts(with_column(batch, "text", pa.array(texts, pa.string())))

    def _good_lines(self, split: TextSplit) -> np.ndarray:
        """Lines that pass the rules on words and on the last character, shape [lines]."""
        config = self.config
        good = split.line_words >= config.min_words_per_line
        if config.only_terminal_lines:
            good &= np.isin(split.line_last_codes, [ord(c) for c in ".?!\"'"]) & ~split.ends_with_ellipsis()
        if config.max_word_characters is not None:
            long = np.flatnonzero(split.stops - split.starts > config.max_word_characters)
            good[np.searchsorted(split.line_starts, split.starts[long], side="right") - 1] = False
        return good

    def _one(self, decided: Decisions, row: int, text: str, good: np.ndarray) -> str:
        config, lines, lower = self.config, text.split("\n"), text.lower()
        if config.reject_lorem_ipsum and "lorem ipsum" in lower:
            decided.reject(row, "lorem_ipsum")
        if config.reject_curly_bracket and "{" in text:
            decided.reject(row, "curly_bracket")
        phrases = [p for p in _POLICY if config.drop_policy_lines and p in lower]
        if config.drop_javascript_lines and "javascript" in lower:
            phrases.append("javascript")
        kept = [line for line, fine in zip(lines, good.tolist(), strict=True) if fine]
        if phrases:
            kept = [line for line in kept if not any(phrase in line.lower() for phrase in phrases)]
        result = "\n".join(kept)
        if config.remove_citations and "[" in result:
            result = _CITATION.sub("", result)
        if config.min_sentences:
            sentences = len(_SENTENCE_END.findall(result))
            if sentences < config.min_sentences:
                decided.reject(row, "too_few_sentences", f"{sentences} sentences < {config.min_sentences}")
        if decided.outcomes[row] == "reject":
            return text
        if result != text:
            decided.change(row, "lines_dropped", f"{len(lines) - len(kept)} of {len(lines)} lines")
            decided.count("lines_dropped", len(lines) - len(kept))
        return result
