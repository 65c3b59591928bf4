"""Limits on the shares of symbols, digits, punctuation, capitals, white space and non-letters in a text."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from headwater.data.arrow import compute, utf8
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts

CLASSES = ("symbol", "digit", "punctuation", "upper_case", "white_space", "letter", "cased")
"""Bit k of a character's class mask says that it is in CLASSES[k]."""

_ASCII = 128

MEASURES = ("symbol", "digit", "punctuation", "upper_case", "white_space", "non_alphabetic")


class CharacterRatiosConfig(OperatorConfig):
    """Options of `character_ratios`. Limits are inclusive; null switches one off, and at least one is given.

    White space is a share of all characters, capitals of the letters that have a case, everything else of the
    characters that are no white space, so that indentation does not change it.

    Attributes:
        min_symbol, max_symbol: Unicode categories S: `+ = < > | ~ $ ©`, emoji, box drawing.
        min_digit, max_digit: Categories N: digits and other numerals of every script.
        min_punctuation, max_punctuation: Categories P.
        min_upper_case, max_upper_case: Capitals.
        min_white_space, max_white_space: As `str.isspace()`.
        min_non_alphabetic, max_non_alphabetic: Neither letters nor the marks that are written with letters (vowel
            signs, accents), so that no script looks less alphabetic than another.
    """

    min_symbol: float | None = Field(default=None, ge=0, le=1)
    max_symbol: float | None = Field(default=None, ge=0, le=1)
    min_digit: float | None = Field(default=None, ge=0, le=1)
    max_digit: float | None = Field(default=None, ge=0, le=1)
    min_punctuation: float | None = Field(default=None, ge=0, le=1)
    max_punctuation: float | None = Field(default=None, ge=0, le=1)
    min_upper_case: float | None = Field(default=None, ge=0, le=1)
    max_upper_case: float | None = Field(default=None, ge=0, le=1)
    min_white_space: float | None = Field(default=None, ge=0, le=1)
    max_white_space: float | None = Field(default=None, ge=0, le=1)
    min_non_alphabetic: float | None = Field(default=None, ge=0, le=1)
    max_non_alphabetic: float | None = Field(default=None, ge=0, le=1)

    def limits(self, measure: str) -> tuple[float | None, float | None]:
        """The least and the largest allowed share of a measure."""
        return getattr(self, f"min_{measure}"), getattr(self, f"max_{measure}")

    @model_validator(mode="after")
    def _limits(self) -> CharacterRatiosConfig:
        pairs = {measure: self.limits(measure) for measure in MEASURES}
        if all(limit is None for pair in pairs.values() for limit in pair):
            raise ValueError(f"character_ratios needs a limit, such as {{max_symbol: 0.1}}; it can limit {', '.join(pairs)}")  # fmt: skip  # noqa: E501
        for measure, (low, high) in pairs.items():
            if low is not None and high is not None and low > high:
                raise ValueError(f"no text has a share of {measure} of at least {low} and at most {high}")
        return self


class CharacterRatios(Operator):
    """Sets aside texts by what kinds of characters they are made of. A text without any has no ratio and passes."""

    name = "character_ratios"
    reasons = frozenset(f"{way}_{measure}" for way in ("low", "high") for measure in MEASURES)
    config: CharacterRatiosConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`."""
        decided, shares = Decisions(self, batch), ratios(batch.column("text"))
        for measure in MEASURES:
            low, high = self.config.limits(measure)
            share, words = shares[measure], measure.replace("_", " ")
            if low is not None:
                decided.reject_where(share < low, f"low_{measure}", share, f"{words} share < {low}")
            if high is not None:
                decided.reject_where(share > high, f"high_{measure}", share, f"{words} share > {high}")
        return decided.verdicts()


def ratios(texts: pa.Array) -> dict[str, npt.NDArray[np.float64]]:
    """Each measure of each text, shape [texts]; NaN where there is nothing to take a share of."""
    counts = class_counts(texts)
    symbol, digit, punctuation, upper_case, white_space, letter, cased, characters = counts.T.astype(np.float64)
    written = characters - white_space
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "symbol": symbol / written, "digit": digit / written, "punctuation": punctuation / written,
            "upper_case": upper_case / cased, "white_space": white_space / characters,
            "non_alphabetic": (written - letter) / written,
        }  # fmt: skip


def class_counts(texts: pa.Array) -> npt.NDArray[np.int64]:
    """Characters of each of `CLASSES`, and all characters, shape [texts, classes + 1].

    One histogram of bytes a text: in UTF-8, bytes below 128 are the ASCII characters. Only the others are decoded.
    """
    content, bounds = utf8(texts)
    histograms = np.zeros((len(texts), 256), dtype=np.int64)
    for row, (start, end) in enumerate(pairwise(bounds.tolist())):
        histograms[row] = np.bincount(content[start:end], minlength=256)
    counts = histograms[:, :_ASCII] @ _bits(_masks()[:_ASCII])
    foreign = np.flatnonzero(histograms[:, _ASCII:].any(axis=1))
    for row in foreign.tolist():
        codes = np.frombuffer(texts[row].as_py().encode("utf-32-le"), dtype="<u4")
        masks = np.bincount(_masks()[codes[codes >= _ASCII]], minlength=1 << len(CLASSES))
        counts[row] += masks @ _bits(np.arange(1 << len(CLASSES)))
    characters = compute.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.concatenate([counts, characters[:, None]], axis=1)


def _bits(masks: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Which classes each mask holds, as 0 and 1, shape [masks, classes]."""
    return (masks[:, None].astype(np.int64) >> np.arange(len(CLASSES))[None, :]) & 1


@lru_cache(maxsize=1)
def _masks() -> npt.NDArray[np.uint8]:
    """The class mask of every code point."""
    masks = np.zeros(0x110000, dtype=np.uint8)
    for code in (*range(0x32400), *range(0xE0100, 0xE01F0)):  # all others are unassigned or for private use
        character = chr(code)
        category = unicodedata.category(character)
        kinds = (category[0] == "S", category[0] == "N", category[0] == "P", category in ("Lu", "Lt"),
                 character.isspace(), category[0] in "LM", category in ("Lu", "Lt", "Ll"))  # fmt: skip
        masks[code] = sum(1 << place for place, held in enumerate(kinds) if held)
    return masks
