"""Decontamination: finds documents that hold evaluation items, and sets them aside or marks them.

Two rules. `coverage` finds items that are cut short, edited, or there without their answers, and leaves alone what only
quotes what an item quotes (`headwater.core.item_coverage`). `ngram` is the 13-gram overlap of GPT-3 (Brown et al.,
arXiv:2005.14165, appendix C). Words are those of `headwater.core.ngrams`, so that tracing finds the same overlaps. A
compiled filter leaves out the texts that share nothing; in the others the words themselves decide. Documents stream by:
what is held is the items.

Every hit is recorded in the verdict, as JSON:

    {"hits": [{"task": "quiz", "index": 0, "start": 17, "length": 104, "longest": 19, "coverage": 0.981}],
     "shared": [{"start": 17, "length": 104, "words": "which of the seven …"}]}

`start` and `length` are characters of the document's text, `longest` are words of the longest run in common there, and
`coverage` is the share of the item that is there, by weight (not of the rule `ngram`). A document that holds a whole
benchmark has thousands of hits, which overlap; `shared` has the stretches that are left when those are joined, so every
word is there once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from headwater.core.ngrams import split_words
from headwater.core.storage import storage_errors
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.item_finder import ItemFinder, Rule
from headwater.data.rows import texts_of


class DecontaminateConfig(OperatorConfig):
    """Options of `decontaminate`.

    Attributes:
        rule: What counts as holding an item.
        action: Whether such a document is set aside, or kept with the hits in its verdict.
        ngram: Of the rule `ngram`: words that must agree, one after the other.
        min_words: Of the rule `ngram`: items of fewer words are matched whole if they have at least this many.
    """

    rule: Rule = "coverage"
    action: Literal["reject", "mark"] = "reject"
    ngram: int = Field(default=13, ge=2, le=100)
    min_words: int = Field(default=8, ge=2, le=100)

    @model_validator(mode="after")
    def _options_of_the_rule(self) -> Self:
        fields = type(self).model_fields
        changed = [name for name in ("ngram", "min_words") if getattr(self, name) != fields[name].default]
        if self.rule != "ngram" and changed:
            raise ValueError(f"{' and '.join(changed)} can be set with rule: ngram only, and the rule is {self.rule}")
        return self


class Decontaminate(Operator):
    """Sets aside or marks documents that hold an item; the detail has every hit.

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
        self._finder: ItemFinder | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_finder": None}  # each process reads the items by itself

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text`."""
        if self._finder is None:
            with storage_errors("read", self.items):
                items = pq.ParquetFile(self.items).read(["task", "index", "text", "fields_json"])
            self._finder = ItemFinder.build(items, self.config.rule, self.config.ngram, self.config.min_words)
        finder = self._finder
        decided = Decisions(self, batch)
        rows = finder.filter.candidates(batch.column("text")).tolist()
        for row, text in zip(rows, texts_of(batch.take(pa.array(rows, pa.int64()))) if rows else (), strict=True):
            words = split_words([text])
            hits = finder.hits(words)
            if hits:
                detail = json.dumps(finder.record(words, hits), ensure_ascii=False)
                if self.config.action == "reject":
                    decided.reject(row, "item_overlap", detail)
                else:
                    decided.note(row, detail)
                    decided.count("documents_marked")
                decided.count("items_matched", len({hit.item for hit in hits}))
        return decided.verdicts()
