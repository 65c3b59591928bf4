"""Runs of words that an earlier document, or the text before, has already are cut, as in Lee et al. ("Deduplicating
Training Data Makes Language Models Better", ACL 2022).

What is cut, exactly: a window is `min_tokens` words in a row. Texts are read in the order of their row keys (see
`row_keys`: preferred sources first). A window is repeated if an equal one stands in an earlier text, or in the same
text and ends before it begins. A word is cut if it lies in a repeated window, and no other word is: so of every run
that is said twice the first saying stays, whatever else the two texts share. With each run goes the punctuation that
sticks to its last word and the blanks after it, up to the next word or the end of the line.

Lee et al. find such runs with a suffix array on one machine. Here windows that can be repeated find one another by
anchors: the least hash of the word n-grams in a window, the rightmost of equal ones, which is winnowing (Schleimer,
Wilkerson and Aiken, "Winnowing: Local Algorithms for Document Fingerprinting", SIGMOD 2003). Equal windows have equal
anchors, in the same place; so a window whose anchor occurs once needs no further look. All windows that share one
anchor lie in a row, and the words under them are its context.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from headwater.core.config import Whole
from headwater.core.ngrams import character_tables
from headwater.data.operators.base import OperatorConfig
from headwater.data.operators.kernels.texts import as_texts
from headwater.data.rows import CODE_TYPES

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

NAME = "substring_dedup"


class SubstringDedupConfig(OperatorConfig):
    """Options of `substring_dedup`.

    Attributes:
        min_tokens: Words (of `core.ngrams`: case and punctuation do not count) that a run must have to be cut.
        min_characters: Documents that lost something and have fewer characters left are set aside; 0: none.
        exempt_types: Media type prefixes that are left alone, and that others are not compared with: programs repeat
            themselves by nature.
    """

    min_tokens: int = Field(default=50, ge=2, le=10_000)
    min_characters: Whole = Field(default=200, ge=0)
    exempt_types: tuple[str, ...] = CODE_TYPES

    @property
    def anchor_words(self) -> int:
        """Words in an anchor. Changes no result: longer ones are more, and fewer of them occur twice."""
        return max(1, self.min_tokens // 2)


class Anchors(NamedTuple):
    """The anchors of some texts.

    Attributes:
        owners: The text of each, shape [anchors].
        keys: The hash of its n-gram, shape [anchors].
        contexts: 128 bits that stand for the words under its windows, shape [anchors, 2].
        places: Its windows [first, stop), by number of their first word, shape [anchors, 2].
        spans: The bytes [start, stop) to cut when all of them are repeated, shape [anchors, 2].
    """

    owners: I64
    keys: U64
    contexts: U64
    places: I64
    spans: I64


def anchors_of(texts: Any, config: SubstringDedupConfig) -> Anchors:
    """The anchors of each text, in order; a text of fewer than `min_tokens` words has none."""
    from headwater.data.operators.kernels.substrings import anchors  # numba is imported when there is work for it

    data, offsets = as_texts(texts)
    most = (len(data) + len(offsets)) // 2
    owners, keys, contexts = np.empty(most, np.int64), np.empty(most, np.uint64), np.empty((most, 2), np.uint64)
    places, spans = np.empty((most, 2), np.int64), np.empty((most, 2), np.int64)
    count = anchors(data, offsets, *character_tables(), config.min_tokens, config.anchor_words,
                    owners, keys, contexts, places, spans)  # fmt: skip
    return Anchors(owners[:count], keys[:count], contexts[:count], places[:count], spans[:count])


def windows_of(texts: Any, wanted: Sequence[I64], config: SubstringDedupConfig) -> tuple[U64, I64]:
    """128 bits that stand for the words of each wanted window, and its bytes [start, stop) to cut.

    Args:
        texts: The texts.
        wanted: For each text, the numbers of windows of it.
        config: Options.

    Returns:
        Hashes and spans, shape [windows, 2] both.
    """
    from headwater.data.operators.kernels.substrings import windows

    data, offsets = as_texts(texts)
    firsts = np.zeros(len(wanted) + 1, np.int64)
    np.cumsum([len(each) for each in wanted], out=firsts[1:])
    hashes, spans = np.empty((firsts[-1], 2), np.uint64), np.empty((firsts[-1], 2), np.int64)
    places = np.concatenate([np.empty(0, np.int64), *wanted])
    windows(data, offsets, *character_tables(), config.min_tokens, places, firsts, hashes, spans)
    return hashes, spans
