"""Finds evaluation items in texts by one of two rules: a compiled look at all texts, a close one at few of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import pyarrow as pa

from headwater.core.item_coverage import NEAR, CoverageIndex
from headwater.core.item_parts import question_of
from headwater.core.item_runs import ItemIndex
from headwater.core.ngrams import Words
from headwater.data.arrow import values
from headwater.data.operators.run_filter import RunFilter

Rule = Literal["coverage", "ngram"]


class Hit(NamedTuple):
    """Words [first, stop) of a text, where an item lies.

    Attributes:
        longest: Words of the longest run in common there.
        coverage: Share of the item that is there, in thousandths; None where the rule knows none.
    """

    item: int
    first: int
    stop: int
    longest: int
    coverage: int | None


class _Index(Protocol):
    def hits(self, words: Words) -> list[Hit]: ...


@dataclass(frozen=True, slots=True)
class _Runs:
    index: ItemIndex

    def hits(self, words: Words) -> list[Hit]:
        return [Hit(r.item, r.first, r.stop, r.stop - r.first, None) for r in self.index.runs(words)]


@dataclass(frozen=True, slots=True)
class _Coverage:
    index: CoverageIndex

    def hits(self, words: Words) -> list[Hit]:
        return [Hit(*each) for each in self.index.found(words)]


@dataclass(frozen=True, slots=True)
class ItemFinder:
    """Items, ready to be found.

    Attributes:
        tasks, indices: Of each item.
        filter: Which texts are worth a closer look.
    """

    tasks: list[str]
    indices: list[int]
    filter: RunFilter
    _index: _Index

    @classmethod
    def build(cls, items: pa.Table, rule: Rule, ngram: int, min_words: int) -> ItemFinder:
        """Indexes a table with the columns task, index and text, and fields_json if there is one."""
        tasks, indices, texts = (values(items, name) for name in ("task", "index", "text"))
        if rule == "ngram":
            runs = ItemIndex.build(texts, ngram, min_words)
            return cls(tasks, indices, RunFilter.of_runs(runs, texts), _Runs(runs))
        fields = values(items, "fields_json") if "fields_json" in items.column_names else [None] * len(texts)
        index = CoverageIndex.build(texts, list(map(question_of, texts, fields)))
        return cls(tasks, indices, RunFilter.of_anchors(index.items, NEAR), _Coverage(index))

    def hits(self, words: Words) -> list[Hit]:
        """Where one text holds items."""
        return self._index.hits(words)

    def record(self, words: Words, hits: Sequence[Hit]) -> dict[str, Any]:
        """What a verdict says about the items that a text holds."""
        found = [{"task": self.tasks[hit.item], "index": self.indices[hit.item], **_place(words, hit.first, hit.stop),
                  "longest": hit.longest, **({} if hit.coverage is None else {"coverage": hit.coverage / 1000})}
                 for hit in hits]  # fmt: skip
        stretches: list[list[int]] = []
        for first, stop in sorted((hit.first, hit.stop) for hit in hits):
            if stretches and first <= stretches[-1][1]:
                stretches[-1][1] = max(stretches[-1][1], stop)
            else:
                stretches.append([first, stop])
        shared = [{**_place(words, *each), "words": " ".join(words.strings(*each))} for each in stretches]
        return {"hits": found, "shared": shared}


def _place(words: Words, first: int, stop: int) -> dict[str, int]:
    _, start, end = words.characters(first, stop)
    return {"start": start, "length": end - start}
