"""Words and word n-grams: the one definition that decontamination, tracing and reports share.

A word is a maximal run of Unicode letters, digits, marks and underscores, lower-cased one character at a time, so that
a word's place in the original text is known exactly. In scripts that are written without spaces (Han, Kana, Thai, Lao,
Khmer, Myanmar, Tibetan) each letter, with its marks, is a word: otherwise a whole sentence would be one word.

Everything runs over numpy arrays of code points, with no Python
string per word. Hashes are 64 bits wide and the same in every process and on every machine.

Example:
    >>> words("The cat's hat")
    ['the', 'cat', 's', 'hat']
    >>> word_spans("The cat")
    [('the', 0, 3), ('cat', 4, 7)]
    >>> hashes, text_index = ngram_hashes(["a b c d", "b c d"], 3)
    >>> text_index.tolist(), bool(hashes[1] == hashes[2])
    ([0, 0, 1], True)
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from headwater.core.hashing import U64, mix64, powers

I64 = npt.NDArray[np.int64]

# Above this code point Unicode 14–16 has no letters or digits, only variation selectors and private use.
_LAST_WORD_CODE = 0x32400
_UNSPACED_SCRIPTS = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # Han radicals
    (0x3005, 0x3007),  # Han iteration mark and zero
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # Katakana extensions
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),  # Han, compatibility
    (0x1B000, 0x1B16F),  # Kana, historic
    (0x20000, _LAST_WORD_CODE),  # Han, supplementary planes
)
NOT_WORD, JOINS, ALONE, MARK = 0, 1, 2, 3
"""Kinds of characters: in no word, part of one, a word by itself, a mark that goes with the letter before it."""

_CHARACTER_BASE = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2**64
_WORD_BASE = np.uint64(0xD1B54A32D192ED03)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of several texts, laid end to end.

    Attributes:
        codes: lower-cased code points of all texts, one line feed after each.
        starts, stops: where each word begins and ends in `codes`.
        hashes: 64-bit hash of each word.
        text_starts: for each text, where it begins in `codes`; one more entry for the end.
        first_words: for each text, the number of its first word; one more entry for the end.
    """

    codes: npt.NDArray[np.uint32]
    starts: I64
    stops: I64
    hashes: U64
    text_starts: I64
    first_words: I64

    def __len__(self) -> int:
        return len(self.starts)

    def strings(self, start: int, stop: int) -> list[str]:
        """Words number `start` to `stop` (exclusive) as normalised strings."""
        if start >= stop:
            return []
        origin = int(self.starts[start])
        text = _decode(self.codes[origin : int(self.stops[stop - 1])])
        places = zip(self.starts[start:stop].tolist(), self.stops[start:stop].tolist(), strict=True)
        return [text[a - origin : b - origin] for a, b in places]

    def text_of(self, word: npt.ArrayLike) -> I64:
        """Which text each of these words belongs to."""
        return np.searchsorted(self.first_words, np.asarray(word), side="right") - 1

    def characters(self, start: int, stop: int) -> tuple[int, int, int]:
        """Words `start` to `stop` (exclusive, not empty) as (text, first character, end character) of the original."""
        text = int(self.text_of(start))
        origin = int(self.text_starts[text])
        return text, int(self.starts[start]) - origin, int(self.stops[stop - 1]) - origin

    def ngrams(self, n: int) -> tuple[U64, I64]:
        """Hashes of all runs of `n` words that lie inside one text, and the number of the first word of each."""
        count = len(self.starts) - n + 1
        if n < 1:
            raise ValueError(f"n-grams need n of at least 1, not {n}")
        if count <= 0:
            return np.empty(0, np.uint64), np.empty(0, np.int64)
        sums = self.hashes[:count].copy()
        for k in range(1, n):
            sums *= _WORD_BASE
            sums += self.hashes[k : k + count]
        inside = np.ones(count, dtype=np.bool_)
        for boundary in self.first_words[1:-1].tolist():  # a run that starts less than n words before crosses over
            inside[max(0, boundary - n + 1) : boundary] = False
        places = np.flatnonzero(inside)
        return mix64(sums[places]), places


def split_words(texts: Sequence[str]) -> Words:
    """Splits several texts at once. Give a few megabytes a call: it needs about 40 bytes a character.

    Args:
        texts: any strings; lone surrogates are separators.
    """
    lower, kinds = character_tables()
    text_starts = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) + 1 for text in texts], out=text_starts[1:])
    joined = "\n".join(texts) + "\n" if texts else ""
    codes = lower[np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")]
    kind = kinds[codes]
    inside = kind != NOT_WORD
    begins, ends = inside.copy(), inside.copy()  # a word begins at a word character after none, or at a lone letter
    if len(codes):
        fresh = (kind[1:] != MARK) & ((kind[1:] == ALONE) | _alone_cluster(kind)[:-1])
        begins[1:] &= ~inside[:-1] | fresh
        ends[:-1] = inside[:-1] & (~inside[1:] | begins[1:])
    starts, stops = np.flatnonzero(begins), np.flatnonzero(ends) + 1
    return Words(
        codes=codes,
        starts=starts,
        stops=stops,
        hashes=_hash_runs(_mixed()[codes], starts, stops),
        text_starts=text_starts,
        first_words=np.searchsorted(starts, text_starts),
    )


def words(text: str) -> list[str]:
    """The normalised words of one text."""
    split = split_words([text])
    return split.strings(0, len(split))


def word_spans(text: str) -> list[tuple[str, int, int]]:
    """The normalised words of one text, each with its first and end character in `text`."""
    split = split_words([text])
    places = zip(split.starts.tolist(), split.stops.tolist(), strict=True)
    return [(word, a, b) for word, (a, b) in zip(split.strings(0, len(split)), places, strict=True)]


def ngram_hashes(texts: str | Sequence[str], n: int) -> tuple[U64, I64]:
    """Hashes of every run of `n` words in each text, in order, and the number of the text that each belongs to."""
    split = split_words([texts] if isinstance(texts, str) else texts)
    hashes, places = split.ngrams(n)
    return hashes, split.text_of(places)


def _alone_cluster(kind: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """True at letters that stand alone and at the marks that follow them."""
    if not (kind == ALONE).any():
        return np.zeros(len(kind), dtype=np.bool_)
    last = np.maximum.accumulate(np.where(kind != MARK, np.arange(len(kind)), 0))
    return kind[last] == ALONE


def _decode(codes: npt.NDArray[np.uint32]) -> str:
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def _hash_runs(values: U64, starts: I64, stops: I64) -> U64:
    """Polynomial hash of each run values[start:stop], from one prefix sum modulo 2**64."""
    forward, backward = powers(_CHARACTER_BASE, max(1024, 1 << max(0, len(values) - 1).bit_length()))
    sums = np.zeros(len(values) + 1, dtype=np.uint64)
    np.cumsum(values * forward[: len(values)], out=sums[1:])
    return mix64((sums[stops] - sums[starts]) * backward[starts])


@lru_cache(maxsize=1)
def character_tables() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]:
    """For each code point its lower case and its kind, both of shape [0x110000]: all that a word split needs."""
    lower = np.arange(0x110000, dtype=np.uint32)
    kinds = np.full(0x110000, NOT_WORD, dtype=np.uint8)
    for code in range(_LAST_WORD_CODE):
        character = chr(code)
        small = character.lower()
        lower[code] = ord(small[0])  # one letter becomes two (a letter and a mark) only for U+0130
        if character.isalnum() or character == "_":
            kinds[code] = JOINS
        elif unicodedata.category(character)[0] == "M":
            kinds[code] = MARK
    kinds[0xE0100:0xE01F0] = MARK  # variation selectors
    for first, last in _UNSPACED_SCRIPTS:
        part = kinds[first : last + 1]
        part[part == JOINS] = ALONE
    return lower, kinds


@lru_cache(maxsize=1)
def _mixed() -> U64:
    """The hash of each code point."""
    return mix64((np.arange(0x110000, dtype=np.uint64) + np.uint64(1)) * np.uint64(_CHARACTER_BASE))
