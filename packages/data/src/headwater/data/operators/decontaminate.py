"""Decontamination: sets aside documents that share a run of words with an evaluation item.

The rule is the 13-gram overlap of GPT-3 (Brown et al., arXiv:2005.14165, appendix C). Words are those of
`headwater.core.ngrams`, so that tracing finds the same overlaps. A compiled filter leaves out the texts that share
nothing; in the others hashes find candidates, and the words themselves decide.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from headwater.core.ngrams import Words, split_words
from headwater.core.storage import storage_errors
from headwater.data.arrow import values
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.run_filter import RunFilter
from headwater.data.rows import texts_of

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
_SHOWN = 5


class DecontaminateConfig(OperatorConfig):
    """Options of `decontaminate`.

    Attributes:
        ngram: Words that must agree, one after the other.
        min_words: Items with fewer than `ngram` words are matched whole if they have at least this many.
    """

    ngram: int = Field(default=13, ge=2, le=100)
    min_words: int = Field(default=8, ge=2, le=100)


@dataclass(frozen=True, slots=True)
class ItemIndex:
    """The n-grams of evaluation items.

    Attributes:
        tasks, indices: Of each item.
        words: The items' words.
        grams: For each n: sorted hashes, and the first word of each n-gram.
    """

    tasks: list[str]
    indices: list[int]
    words: Words
    grams: dict[int, tuple[U64, I64]]

    @classmethod
    def build(cls, items: pa.Table, config: DecontaminateConfig) -> ItemIndex:
        """Indexes a table with the columns task, index and text."""
        words = split_words(values(items, "text"))
        sizes = np.diff(words.first_words)
        grams: dict[int, tuple[U64, I64]] = {}
        short = {int(size) for size in sizes if config.min_words <= size < config.ngram}
        for n in sorted({config.ngram, *short}, reverse=True):
            hashes, places = words.ngrams(n)
            if n < config.ngram:  # whole short items only
                whole = sizes[words.text_of(places)] == n
                hashes, places = hashes[whole], places[whole]
            order = np.lexsort((places, hashes))
            grams[n] = (hashes[order], places[order])
        return cls(values(items, "task"), values(items, "index"), words, grams)

    def filter(self, texts: list[str]) -> RunFilter:
        """Finds the texts that are worth a closer look; `texts` are the items'."""
        longest = max(self.grams)
        runs: dict[int, list[str]] = {n: [] for n in self.grams}
        for text, size in zip(texts, np.diff(self.words.first_words).tolist(), strict=True):
            if min(size, longest) in runs:
                runs[min(size, longest)].append(text)
        return RunFilter.build(runs)


class Decontaminate(Operator):
    """Sets aside documents that overlap an item; the detail names task, index and the shared words.

    Args:
        config: Options.
        items: Path of `items.parquet`; read when the first batch comes.
    """

    name = "decontaminate"
    reasons = frozenset({"item_overlap"})
    live_only = True
    config: DecontaminateConfig

    def __init__(self, config: DecontaminateConfig, items: Path) -> None:
        super().__init__(config)
        self.items = items
        self._index: tuple[ItemIndex, RunFilter] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_index": None}  # each process reads the items by itself

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`."""
        if self._index is None:
            with storage_errors("read", self.items):
                items = pq.read_table(self.items, columns=["task", "index", "text"])
                index = ItemIndex.build(items, self.config)
                self._index = index, index.filter(values(items, "text"))
        index, filter_ = self._index
        decided = Decisions(self, batch)
        rows = filter_.candidates(batch.column("text")).tolist()
        texts = texts_of(batch.take(pa.array(rows, pa.int64()))) if rows else []
        for place, matches in overlaps(split_words(texts), index).items():
            row = rows[place]
            shown = [{"task": task, "index": index, "span": span} for task, index, span in matches[:_SHOWN]]
            decided.reject(row, "item_overlap", json.dumps(shown, ensure_ascii=False))
            decided.count("items_matched", len(matches))
        return decided.verdicts()


def overlaps(words: Words, index: ItemIndex) -> dict[int, list[tuple[str, int, str]]]:
    """Which texts share words with which items.

    Returns:
        For each text with an overlap: (task, index, the longest shared span) of each item, longest span first.
    """
    spans: dict[tuple[int, int], str] = {}
    for n, (hashes, item_places) in index.grams.items():
        if not len(hashes):
            continue
        own, places = words.ngrams(n)
        left = np.searchsorted(hashes, own, side="left")
        hit = np.flatnonzero(hashes[np.minimum(left, len(hashes) - 1)] == own)
        if not len(hit):
            continue
        right = np.searchsorted(hashes, own[hit], side="right")
        for k, (first, end) in enumerate(zip(left[hit].tolist(), right.tolist(), strict=True)):
            place = int(places[hit[k]])
            text = int(words.text_of(place))
            mine = words.strings(place, place + n)
            for item_place in item_places[first:end].tolist():
                item = int(index.words.text_of(item_place))
                if index.words.strings(item_place, item_place + n) == mine:
                    span = _extend(words, place, index.words, item_place, n)
                    spans[text, item] = max(span, spans.get((text, item), ""), key=len)
    found: dict[int, list[tuple[str, int, str]]] = {}
    for (text, item), span in spans.items():
        found.setdefault(text, []).append((index.tasks[item], index.indices[item], span))
    return {text: sorted(m, key=lambda match: (-len(match[2]), match)) for text, m in sorted(found.items())}


def _extend(words: Words, place: int, items: Words, item_place: int, n: int) -> str:
    """The shared words, grown to the right as long as both agree."""
    end = int(words.first_words[int(words.text_of(place)) + 1])
    item_end = int(items.first_words[int(items.text_of(item_place)) + 1])
    longest = min(end - place, item_end - item_place)
    same = words.hashes[place : place + longest] == items.hashes[item_place : item_place + longest]
    length = longest if same.all() else int(np.argmin(same))
    return " ".join(words.strings(place, place + max(length, n)))
