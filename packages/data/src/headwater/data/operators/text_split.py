"""One split of a batch of texts into white-space words and lines, shared by all heuristic operators.

Works on arrays of code points, with no Python string per word or line. White space is Unicode white space
(as `str.split()`), a line ends at a line feed.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.core.hashing import U64, mix64, powers
from headwater.data.arrow import values

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_SPACE, _ALPHA, _PUNCTUATION = 1, 2, 4
_BASE = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2**64


@dataclass(frozen=True)
class TextSplit:
    """Words and lines of several texts laid end to end, one line feed after each.

    Attributes:
        texts: The texts.
        codes: Code points, shape [characters].
        text_starts: Where each text begins in `codes`, and one more for the end, shape [texts + 1].
        starts, stops: Where each word begins and ends, shape [words].
        first_words: Number of each text's first word, shape [texts + 1].
        line_starts, line_stops: Where each line begins and ends (without line feed), shape [lines].
        first_lines: Number of each text's first line, shape [texts + 1].
    """

    texts: list[str]
    codes: npt.NDArray[np.uint32]
    text_starts: I64
    starts: I64
    stops: I64
    first_words: I64
    line_starts: I64
    line_stops: I64
    first_lines: I64

    @cached_property
    def characters(self) -> I64:
        """Length of each text in characters, shape [texts]."""
        return np.diff(self.text_starts) - 1

    @cached_property
    def words(self) -> I64:
        """Words in each text, shape [texts]."""
        return np.diff(self.first_words)

    @cached_property
    def line_first_words(self) -> I64:
        """Number of the first word at or after the start of each line, shape [lines + 1]."""
        return np.searchsorted(self.starts, np.append(self.line_starts, len(self.codes)))

    @cached_property
    def line_words(self) -> I64:
        """Words in each line, shape [lines]."""
        return np.diff(self.line_first_words)

    @cached_property
    def line_last_codes(self) -> npt.NDArray[np.uint32]:
        """The last character of each line that is no white space; 0 for blank lines."""
        last = np.zeros(len(self.line_starts), dtype=np.uint32)
        filled = self.line_words > 0
        last[filled] = self.codes[self.stops[self.line_first_words[1:][filled] - 1] - 1]
        return last

    @cached_property
    def line_first_codes(self) -> npt.NDArray[np.uint32]:
        """The first character of each line that is no white space; 0 for blank lines."""
        first = np.zeros(len(self.line_starts), dtype=np.uint32)
        filled = self.line_words > 0
        first[filled] = self.codes[self.starts[self.line_first_words[:-1][filled]]]
        return first

    @cached_property
    def has_alpha(self) -> Mask:
        """Words with at least one letter, shape [words]."""
        return self._any(_ALPHA, True)

    @cached_property
    def has_non_punctuation(self) -> Mask:
        """Words with at least one character that is no punctuation, symbol or control, shape [words]."""
        return self._any(_PUNCTUATION, False)

    @cached_property
    def hashes(self) -> U64:
        """A 64-bit hash of each word, shape [words]."""
        return self.hash_runs(self.starts, self.stops)

    def per_text(self, values: npt.NDArray[np.number] | Mask, firsts: I64) -> npt.NDArray[np.int64]:
        """Sums values of words (firsts=first_words) or lines (firsts=first_lines) over each text, shape [texts]."""
        sums = np.zeros(len(values) + 1, dtype=np.int64)
        np.cumsum(values, out=sums[1:])
        return sums[firsts[1:]] - sums[firsts[:-1]]

    def hash_runs(self, starts: I64, stops: I64) -> U64:
        """Polynomial hash, modulo 2**64 and then mixed, of each run of characters codes[start:stop]."""
        forward, backward = powers(_BASE, max(1024, 1 << max(0, len(self.codes) - 1).bit_length()))
        sums = np.zeros(len(self.codes) + 1, dtype=np.uint64)
        np.cumsum(mix64(self.codes.astype(np.uint64) + np.uint64(1)) * forward[: len(self.codes)], out=sums[1:])
        return mix64((sums[stops] - sums[starts]) * backward[starts])

    def ends_with_ellipsis(self) -> Mask:
        """Lines that end with "..." or "…", white space aside, shape [lines]."""
        result = self.line_last_codes == ord("…")
        dots = np.flatnonzero(self.line_last_codes == ord("."))
        if len(dots):
            last = self.stops[self.line_first_words[1:][dots] - 1] - 1
            three = (self.codes[last - 1] == ord(".")) & (self.codes[last - 2] == ord("."))
            result[dots] = three & (last - 2 >= self.line_starts[dots])
        return result

    def _any(self, kind: int, wanted: bool) -> Mask:
        matches = (_kinds()[self.codes] & kind) != 0
        sums = np.zeros(len(self.codes) + 1, dtype=np.int32)
        np.cumsum(matches if wanted else ~matches, out=sums[1:])
        return sums[self.stops] > sums[self.starts]


def split_texts(texts: list[str]) -> TextSplit:
    """Splits several texts at once. Give a few megabytes a call: it needs about 40 bytes a character."""
    text_starts = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) + 1 for text in texts], out=text_starts[1:])
    joined = "\n".join(texts) + "\n" if texts else ""
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    inside = (_kinds()[codes] & _SPACE) == 0
    edges = np.flatnonzero(np.diff(inside.astype(np.int8), prepend=0, append=0))
    starts, stops = edges[0::2], edges[1::2]
    line_stops = np.flatnonzero(codes == 10)
    line_starts = np.concatenate([np.zeros(min(1, len(line_stops)), np.int64), line_stops[:-1] + 1])
    return TextSplit(
        texts=texts, codes=codes, text_starts=text_starts, starts=starts, stops=stops,
        first_words=np.searchsorted(starts, text_starts), line_starts=line_starts, line_stops=line_stops,
        first_lines=np.searchsorted(line_starts, text_starts),
    )  # fmt: skip


_last: list[tuple[pa.Array, TextSplit]] = []


def split_of(batch: pa.RecordBatch) -> TextSplit:
    """The split of a batch's text column. Operators that get the same column one after the other share it."""
    column = batch.column("text")
    if not (_last and _same(_last[0][0], column)):
        _last[:] = [
            (column, split_texts(values(batch, "text")))
        ]  # holding the column keeps its buffers from being reused
    return _last[0][1]


def _same(a: pa.Array, b: pa.Array) -> bool:
    if len(a) != len(b) or a.offset != b.offset:
        return False
    addresses = [[buffer.address if buffer else 0 for buffer in array.buffers()] for array in (a, b)]
    return addresses[0] == addresses[1]


@lru_cache(maxsize=1)
def _kinds() -> npt.NDArray[np.uint8]:
    """Bits of each code point: white space, letter, punctuation (also symbols and controls)."""
    kinds = np.zeros(0x110000, dtype=np.uint8)
    for code in range(0x32400):  # beyond there are no letters, punctuation or spaces in Unicode 14–16
        character = chr(code)
        category = unicodedata.category(character)
        kinds[code] = (
            _SPACE * character.isspace()
            | _ALPHA * character.isalpha()
            | _PUNCTUATION * (category[0] in "PS" or category == "Cc")
        )
    return kinds
