"""Decontamination: sets aside documents that share a run of words with an evaluation item.

The rule is the 13-gram overlap of GPT-3 (Brown et al., arXiv:2005.14165, appendix C). Words are those of
`headwater.core.ngrams`, so that tracing finds the same overlaps. A compiled filter leaves out the texts that share
nothing; in the others hashes find candidates, and the words themselves decide. Documents stream by: what is held is the
items.

Every hit is recorded in the verdict, as JSON:

    {"hits": [{"task": "quiz", "index": 0, "start": 17, "length": 104}],
     "shared": [{"start": 17, "length": 104, "words": "which of the seven …"}]}

`start` and `length` are characters of the document's text. A document that holds a whole benchmark has thousands of
hits, which overlap; `shared` has the stretches that are left when those are joined, so every word is there once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from headwater.core.ngrams import Words, split_words
from headwater.core.storage import storage_errors
from headwater.data.arrow import values
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.item_overlap import ItemIndex, Run
from headwater.data.operators.run_filter import RunFilter
from headwater.data.rows import texts_of


class DecontaminateConfig(OperatorConfig):
    """Options of `decontaminate`.

    Attributes:
        ngram: Words that must agree, one after the other.
        min_words: Items with fewer than `ngram` words are matched whole if they have at least this many.
    """

    ngram: int = Field(default=13, ge=2, le=100)
    min_words: int = Field(default=8, ge=2, le=100)


class Decontaminate(Operator):
    """Sets aside documents that overlap an item; the detail has every hit.

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
                index = ItemIndex.build(items, self.config.ngram, self.config.min_words)
                self._index = index, index.filter(values(items, "text"))
        index, filter_ = self._index
        decided = Decisions(self, batch)
        rows = filter_.candidates(batch.column("text")).tolist()
        for row, text in zip(rows, texts_of(batch.take(pa.array(rows, pa.int64()))) if rows else (), strict=True):
            words = split_words([text])
            runs = index.runs(words)
            if runs:
                decided.reject(row, "item_overlap", json.dumps(record(words, runs, index), ensure_ascii=False))
                decided.count("items_matched", len({run.item for run in runs}))
        return decided.verdicts()


def record(words: Words, runs: Sequence[Run], index: ItemIndex) -> dict[str, Any]:
    """What a verdict says about the runs that a text shares with items."""
    hits = [{"task": index.tasks[run.item], "index": index.indices[run.item], **_place(words, run.first, run.stop)}
            for run in runs]  # fmt: skip
    stretches: list[list[int]] = []
    for first, stop in sorted((run.first, run.stop) for run in runs):
        if stretches and first <= stretches[-1][1]:
            stretches[-1][1] = max(stretches[-1][1], stop)
        else:
            stretches.append([first, stop])
    shared = [{**_place(words, *each), "words": " ".join(words.strings(*each))} for each in stretches]
    return {"hits": hits, "shared": shared}


def _place(words: Words, first: int, stop: int) -> dict[str, int]:
    _, start, end = words.characters(first, stop)
    return {"start": start, "length": end - start}
