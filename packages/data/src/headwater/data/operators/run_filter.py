"""Which texts may share a run of words with a list of texts: a fast look that misses none and is seldom wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

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
    """

    lengths: npt.NDArray[np.int64]
    table: npt.NDArray[np.uint64]
    marks: npt.NDArray[np.uint8]

    @classmethod
    def build(cls, runs: Mapping[int, Sequence[str]]) -> RunFilter:
        """Lists, for each length, the runs of so many words in these texts; a shorter text is one run."""
        from headwater.data.operators.kernels.word_hashes import list_runs

        found = [hashes for n, texts in runs.items() for hashes in shingle_sets(texts, n)]
        hashes = np.concatenate([np.empty(0, np.uint64), *found])
        places = 1 << max(4, (2 * len(hashes) - 1).bit_length())
        table, marks = np.zeros(places, np.uint64), np.zeros(places, np.uint8)
        list_runs(hashes, table, marks)
        return cls(np.array(list(runs), np.int64), table, marks)

    def candidates(self, texts: Any) -> npt.NDArray[np.int64]:
        """Rows of the texts that may hold a listed run; those that do are always among them."""
        from headwater.data.operators.kernels.word_hashes import texts_with

        data, offsets = as_texts(texts)
        hits = np.empty(len(offsets) - 1, np.bool_)
        texts_with(data, offsets, *character_tables(), self.lengths, self.table, self.marks, hits)
        return np.flatnonzero(hits)
