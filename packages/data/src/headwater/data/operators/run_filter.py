"""Which texts may share a run of words with a list of texts: a fast look that misses none and is seldom wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.item_runs import ItemIndex
from headwater.core.item_words import ANCHOR, ItemWords
from headwater.core.ngrams import character_tables
from headwater.data.operators.kernels.texts import as_texts
from headwater.data.operators.minhash_dedup import shingle_sets


@dataclass(frozen=True, slots=True)
class RunFilter:
    """A hash table of runs of words.

    Attributes:
        lengths: Of the runs, in words, shape [lengths].
        table: The runs' hashes by open addressing, shape [places], a power of two.
        marks: One bit a run, shape [places].
        near: 0: one run is enough. Otherwise two runs have to begin within so many words.
    """

    lengths: npt.NDArray[np.int64]
    table: npt.NDArray[np.uint64]
    marks: npt.NDArray[np.uint8]
    near: int = 0

    @classmethod
    def build(cls, runs: Mapping[int, Sequence[str]]) -> RunFilter:
        """Lists, for each length, the runs of so many words in these texts; a shorter text is one run."""
        found = [hashes for n, texts in runs.items() for hashes in shingle_sets(texts, n)]
        return cls._of(list(runs), np.concatenate([np.empty(0, np.uint64), *found]), 0)

    @classmethod
    def of_runs(cls, index: ItemIndex, texts: Sequence[str]) -> RunFilter:
        """Lists the n-grams of items; `texts` are the items'."""
        longest = max(index.grams)
        runs: dict[int, list[str]] = {n: [] for n in index.grams}
        for text, size in zip(texts, np.diff(index.words.first_words).tolist(), strict=True):
            if min(size, longest) in runs:
                runs[min(size, longest)].append(text)
        return cls.build(runs)

    @classmethod
    def of_anchors(cls, items: ItemWords, near: int) -> RunFilter:
        """Lists the items' anchors, of which two have to be near each other."""
        from headwater.data.operators.kernels.word_hashes import shingles

        data, offsets = as_texts(items.texts())
        count = len(offsets) - 1
        hashes, firsts = np.empty((len(data) + count) // 2 + 1, np.uint64), np.empty(count + 1, np.int64)
        shingles(data, offsets, *character_tables(), ANCHOR, hashes, firsts)
        texts = items.words.text_of(items.anchors)
        return cls._of([ANCHOR], hashes[firsts[texts] + items.anchors - items.words.first_words[texts]], near)

    @classmethod
    def _of(cls, lengths: Sequence[int], hashes: npt.NDArray[np.uint64], near: int) -> RunFilter:
        from headwater.data.operators.kernels.word_hashes import list_runs

        places = 1 << max(4, (2 * len(hashes) - 1).bit_length())
        table, marks = np.zeros(places, np.uint64), np.zeros(places, np.uint8)
        list_runs(hashes, table, marks)
        return cls(np.array(lengths, np.int64), table, marks, near)

    def candidates(self, texts: Any) -> npt.NDArray[np.int64]:
        """Rows of the texts that may hold a listed run, or two near ones; those that do are always among them."""
        from headwater.data.operators.kernels.word_hashes import texts_with

        data, offsets = as_texts(texts)
        hits = np.empty(len(offsets) - 1, np.bool_)
        texts_with(data, offsets, *character_tables(), self.lengths, self.table, self.marks, self.near, hits)
        return np.flatnonzero(hits)
