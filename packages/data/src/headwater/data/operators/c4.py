"""Rules of C4 (Raffel et al., JMLR 21(140), 2020, section 2.2): lines that are no sentences, pages that are no text."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from headwater.core.config import Whole
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.kernels import columns
from headwater.data.operators.kernels.characters import character_bits
from headwater.data.operators.kernels.texts import strings
from headwater.data.operators.text_split import split_of
from headwater.data.rows import with_column


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
    """Drops lines and sets documents aside, in the order of the published code.

    Lines are those of `str.splitlines()`; sentences end at . ! ? before a space. Only lines that the rules before have
    left can set the document aside for a curly bracket or for "lorem ipsum".
    """

    name = "c4"
    reasons = frozenset({"lorem_ipsum", "curly_bracket", "too_few_sentences", "lines_dropped"})
    changes = True
    config: C4Config

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads and changes `text`."""
        from headwater.data.operators.kernels.c4_lines import c4_lines

        decided, config, split = Decisions(self, batch), self.config, split_of(batch)
        result = np.empty(len(split.data), np.uint8)
        offsets = np.empty(len(split) + 1, np.int64)
        outcomes, dropped, sentences = (np.empty(len(split), np.int64) for _ in range(3))
        c4_lines(split.data, split.offsets, character_bits(), split.starts, split.stops, split.first_words,
                 split.break_words, split.first_breaks, self._switches(), config.min_words_per_line,
                 config.max_word_characters or 0, config.min_sentences, result, offsets, outcomes, dropped,
                 sentences)  # fmt: skip
        lines = np.diff(split.first_breaks)
        for row in np.flatnonzero(outcomes != columns.KEPT).tolist():
            match outcomes[row]:
                case columns.LOREM_IPSUM:
                    decided.reject(row, "lorem_ipsum")
                case columns.CURLY_BRACKET:
                    decided.reject(row, "curly_bracket")
                case columns.TOO_FEW_SENTENCES:
                    detail = f"{sentences[row]} sentences < {config.min_sentences}"
                    decided.reject(row, "too_few_sentences", detail)
                case _:
                    decided.change(row, "lines_dropped", f"{dropped[row]} of {lines[row]} lines")
                    decided.count("lines_dropped", int(dropped[row]))
        if not (outcomes == columns.CHANGED).any():
            return decided.verdicts()
        return decided.verdicts(with_column(batch, "text", strings(result, offsets)))

    def _switches(self) -> int:
        config = self.config
        switches = (
            (columns.TERMINAL_LINES, config.only_terminal_lines), (columns.JAVASCRIPT, config.drop_javascript_lines),
            (columns.POLICY, config.drop_policy_lines), (columns.CITATIONS, config.remove_citations),
            (columns.LOREM, config.reject_lorem_ipsum), (columns.CURLY, config.reject_curly_bracket),
        )  # fmt: skip
        return sum(bit for bit, on in switches if on)
