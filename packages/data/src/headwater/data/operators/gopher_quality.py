"""Quality rules of Gopher (Rae et al., "Scaling Language Models", arXiv:2112.11446, appendix A.1.1)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from headwater.core.config import Whole
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.kernels import columns
from headwater.data.operators.text_split import TextSplit, split_of, split_texts


class GopherQualityConfig(OperatorConfig):
    """Options of `gopher_quality`; the defaults are the paper's. Zero (for `max_…`: null) switches a rule off.

    Attributes:
        min_words, max_words: Words that hold more than punctuation.
        min_mean_word_length, max_mean_word_length: In characters.
        max_symbol_word_ratio: Hash signs, or ellipses, per word.
        max_bullet_lines_ratio: Share of lines that begin with a bullet.
        max_ellipsis_lines_ratio: Share of lines that end with an ellipsis.
        min_alpha_words_ratio: Share of words with at least one letter.
        min_stop_words: How many different words of `stop_words` must occur.
        stop_words: The paper's eight.
    """

    min_words: Whole = Field(default=50, ge=0)
    max_words: Whole | None = Field(default=100_000, ge=1)
    min_mean_word_length: float = Field(default=3, ge=0)
    max_mean_word_length: float | None = Field(default=10, gt=0)
    max_symbol_word_ratio: float | None = Field(default=0.1, ge=0)
    max_bullet_lines_ratio: float | None = Field(default=0.9, ge=0, le=1)
    max_ellipsis_lines_ratio: float | None = Field(default=0.3, ge=0, le=1)
    min_alpha_words_ratio: float = Field(default=0.8, ge=0, le=1)
    min_stop_words: Whole = Field(default=2, ge=0)
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")


class GopherQuality(Operator):
    """Sets aside texts that do not look like prose by their words, symbols, lines and stop words."""

    name = "gopher_quality"
    reasons = frozenset({"too_few_words", "too_many_words", "short_words", "long_words", "hash_ratio", "ellipsis_ratio",
                         "bullet_lines", "ellipsis_lines", "alpha_words", "stop_words"})  # fmt: skip
    config: GopherQualityConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`."""
        decided = Decisions(self, batch)
        split = split_of(batch)
        with np.errstate(invalid="ignore", divide="ignore"):
            self._words(decided, split)
            self._symbols(decided, split)
            self._lines(decided, split)
            self._vocabulary(decided, split)
        return decided.verdicts()

    def _words(self, decided: Decisions, split: TextSplit) -> None:
        config, figures = self.config, split.figures
        count = figures[:, columns.CONTENT_WORDS]
        length = figures[:, columns.CONTENT_CHARACTERS] / count
        decided.reject_where(count < config.min_words, "too_few_words", count, f"words < {config.min_words}")
        if config.max_words is not None:
            decided.reject_where(count > config.max_words, "too_many_words", count, f"words > {config.max_words}")
        low, high = config.min_mean_word_length, config.max_mean_word_length
        decided.reject_where(length < low, "short_words", length, f"mean word length < {low}")
        if high is not None:
            decided.reject_where(length > high, "long_words", length, f"mean word length > {high}")

    def _symbols(self, decided: Decisions, split: TextSplit) -> None:
        limit = self.config.max_symbol_word_ratio
        if limit is None:
            return
        hashes = split.figures[:, columns.HASH_SIGNS] / split.words
        dots = split.figures[:, columns.ELLIPSES] / split.words
        decided.reject_where(hashes > limit, "hash_ratio", hashes, f"hash signs per word > {limit}")
        decided.reject_where(dots > limit, "ellipsis_ratio", dots, f"ellipses per word > {limit}")

    def _lines(self, decided: Decisions, split: TextSplit) -> None:
        lines = split.figures[:, columns.SPLIT_LINES]
        bullets, dots = self.config.max_bullet_lines_ratio, self.config.max_ellipsis_lines_ratio
        if bullets is not None:
            share = split.figures[:, columns.BULLET_LINES] / lines
            decided.reject_where(share > bullets, "bullet_lines", share, f"of lines are bullets > {bullets}")
        if dots is not None:
            share = split.figures[:, columns.ELLIPSIS_LINES] / lines
            decided.reject_where(share > dots, "ellipsis_lines", share, f"of lines end in an ellipsis > {dots}")

    def _vocabulary(self, decided: Decisions, split: TextSplit) -> None:
        config = self.config
        share = split.figures[:, columns.LETTER_WORDS] / split.words
        least = config.min_alpha_words_ratio
        decided.reject_where(share < least, "alpha_words", share, f"of words have a letter < {least}")
        if config.min_stop_words:
            found = count_stop_words(split, config.stop_words)
            decided.reject_where(
                found < config.min_stop_words, "stop_words", found, f"stop words < {config.min_stop_words}"
            )


def count_stop_words(split: TextSplit, words: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """How many different ones of `words` each text holds, shape [texts]."""
    from headwater.data.operators.kernels.scan import count_listed

    listed = split_texts([" ".join(sorted({word for word in words if word.split() == [word]}))])
    order = np.argsort(listed.hashes)
    parts = [listed.data[listed.starts[k] : listed.stops[k]] for k in order.tolist()]
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    data = np.concatenate([*parts, np.zeros(1, np.uint8)])
    found = np.empty(len(split), np.int64)
    count_listed(split.data, split.starts, split.stops, split.hashes, split.first_words, listed.hashes[order], data,
                 offsets, found)  # fmt: skip
    return found
