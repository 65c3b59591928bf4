"""Lists of words and phrases, and how much of a text they make up.

A list is a UTF-8 file with one word or phrase a line; blank lines and those that begin with # are passed over. Words
are those of `headwater.core.ngrams`: runs of letters and digits in any script, lower-cased. So "Assessment" does not
hold a shorter word, and a phrase is found across punctuation and line ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from headwater.core.errors import ConfigError
from headwater.core.ngrams import split_words
from headwater.core.storage import storage_errors


@dataclass(frozen=True)
class WordList:
    """Phrases by their number of words.

    Attributes:
        phrases: Number of words → the phrases, as tuples of words.
        hashes: Number of words → sorted hashes of the phrases, with which candidates are found.
    """

    phrases: dict[int, frozenset[tuple[str, ...]]]
    hashes: dict[int, np.ndarray]

    def found(self, texts: Sequence[str]) -> list[tuple[int, int, str]]:
        """For each text: its words, how many of them are part of a listed phrase, and the first phrase found."""
        words = split_words(texts)
        marked = np.zeros(len(words), dtype=np.bool_)
        first: dict[int, tuple[int, str]] = {}
        for size, hashes in sorted(self.hashes.items()):
            own, places = words.ngrams(size)
            for place in places[np.isin(own, hashes)].tolist():
                phrase = tuple(words.strings(place, place + size))
                if phrase in self.phrases[size]:  # the words decide, not the hash
                    marked[place : place + size] = True
                    text = int(words.text_of(place))
                    first[text] = min(first.get(text, (place, " ".join(phrase))), (place, " ".join(phrase)))
        sums = np.concatenate([[0], np.cumsum(marked)])[words.first_words]
        totals = np.diff(words.first_words).tolist()
        return [
            (t, h, first.get(i, (0, ""))[1])
            for i, (t, h) in enumerate(zip(totals, np.diff(sums).tolist(), strict=True))
        ]


def load(path: str) -> WordList:
    """The list of a file; read once as long as the file is unchanged.

    Raises:
        ConfigError: It is no UTF-8 text, or lists nothing.
        StorageError: It cannot be read.
    """
    with storage_errors("read the word list", path):
        state = Path(path).stat()
        return _load(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4)
def _load(path: str, size: int, modified: int) -> WordList:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"the word list {path} is no UTF-8 text: {error}",
                          expected="one word or phrase a line") from error  # fmt: skip
    listed = split_words([line for line in lines if line.strip() and not line.lstrip().startswith("#")])
    bounds = listed.first_words.tolist()
    phrases: dict[int, set[tuple[str, ...]]] = {}
    for start, stop in pairwise(bounds):
        if stop > start:
            phrases.setdefault(stop - start, set()).add(tuple(listed.strings(start, stop)))
    if not phrases:
        raise ConfigError(f"the word list {path} lists nothing", found=f"{len(lines):,} lines",
                          expected="one word or phrase a line")  # fmt: skip
    hashes = {n: np.unique(split_words([" ".join(p) for p in each]).ngrams(n)[0]) for n, each in phrases.items()}
    return WordList({n: frozenset(each) for n, each in phrases.items()}, hashes)
