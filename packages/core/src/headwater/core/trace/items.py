"""The documents, kept and rejected, that share text with an evaluation item."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.core.errors import DataError
from headwater.core.item_coverage import CoverageIndex, Covered
from headwater.core.item_parts import question_of
from headwater.core.item_runs import ItemIndex, Run, count_shared
from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact, read_manifest
from headwater.core.ngrams import Words, split_words
from headwater.core.parquet import count_rows, iterate_rows, read_rows
from headwater.core.sidecar import Place, Sidecars
from headwater.core.trace.documents import Rejection, document_files
from headwater.core.trace.training import Reading, Training, read_training

FLOOR_WORDS = 5
DEFAULT_NGRAM = 13
_MOST_PLACES = 1000
_BATCH_CHARACTERS = 1_000_000
_BATCH_ROWS = 256
_SHOWN_TEXTS = 5


@dataclass(frozen=True)
class SharedText:
    """A stretch of the document that the item shares, and its words."""

    words: int
    text: str


@dataclass(frozen=True)
class Overlap:
    """A document that shares text with the item.

    Attributes:
        longest: Words in the longest shared run.
        coverage: Share of the item that it holds, by weight, if it holds the item (`core.item_coverage`); or none.
        shared_ngrams: How many of the item's n-grams the document holds.
        texts: Shared stretches of at least n words (the longest one if none is that long), longest first.
        rejection: What rejected the document, or none if it was kept.
        place: Where its tokens lie, or none.
        readings: The steps that read the document, by epoch.
    """

    id: str
    source: str
    url: str
    longest: int
    coverage: float | None
    shared_ngrams: int
    texts: list[SharedText]
    rejection: Rejection | None
    place: Place | None
    readings: list[Reading]


@dataclass(frozen=True)
class ItemTrace:
    """What was found for an item.

    Attributes:
        words: Words in the item.
        ngram: n that was asked for, or all the words of a shorter item.
        item_ngrams: How many n-grams the item has.
        by_coverage: Whether documents that hold the item by coverage count too.
        overlapping: How many documents hold the item or share at least one n-gram.
        overlapping_kept: How many of them were kept.
        closest: Whether `documents` are only the nearest ones, because none shares an n-gram.
        documents: At most as many as asked for, most overlap first.
        searched_documents: Documents searched.
        searched_characters: Their characters.
        answer: What the model answered, from RUN/eval: prediction, target, correct; or none.
    """

    task: str
    index: int
    text: str
    words: int
    ngram: int
    item_ngrams: int
    by_coverage: bool
    overlapping: int
    overlapping_kept: int
    closest: bool
    documents: list[Overlap]
    searched_documents: int
    searched_characters: int
    steps_done: int | None
    steps_planned: int | None
    answer: dict[str, Any] | None


@dataclass(frozen=True)
class _Found:
    id: str
    source: str
    url: str
    rejection: Rejection | None
    runs: list[Run]
    longest: int
    coverage: int | None
    texts: list[SharedText]


@dataclass(frozen=True)
class _Item:
    """An item, ready to be found: all runs of a few words, and by coverage if asked."""

    text: str
    runs: ItemIndex
    coverage: CoverageIndex | None


def read_item(run: RunLayout, task: str, index: int) -> tuple[list[dict[str, Any]], int]:
    """All evaluation items, and the place of one among them.

    Raises:
        DataError: No such task or index.
    """
    read_manifest(run.items)
    rows = read_rows(run.items / "items.parquet", ["task", "index", "text", "fields_json"])
    places = {row["index"]: place for place, row in enumerate(rows) if row["task"] == task}
    if not places:
        known = sorted({str(row["task"]) for row in rows})
        raise DataError(f"there is no task {task} in {run.items}", expected=f"one of: {', '.join(known)}")
    if index not in places:
        raise DataError(f"task {task} has no item {index}", expected=f"{min(places)} to {max(places)}")
    return rows, places[index]


def trace_item(
    run: RunLayout,
    task: str,
    index: int,
    *,
    ngram: int | None = None,
    top: int = 20,
    tick: Callable[[int], None] | None = None,
) -> ItemTrace:
    """Searches every document, kept or rejected, for text of an evaluation item.

    Args:
        run: The run folder.
        task: The item's task.
        index: The item's index in the task.
        ngram: Words in a row that count as overlap; by default 13, and documents that hold the item by coverage.
        top: How many documents to return.
        tick: Called with the number of documents searched since the last call.

    Raises:
        DataError: No such item.
    """
    rows, place = read_item(run, task, index)
    texts = [str(row["text"]) for row in rows]
    words = len(split_words([texts[place]]))
    n = min(ngram or DEFAULT_NGRAM, max(1, words))
    coverage: CoverageIndex | None = None
    if ngram is None:
        asked = [question_of(text, row["fields_json"]) for text, row in zip(texts, rows, strict=True)]
        coverage = CoverageIndex.build(texts, asked, only=place)
    floor = min(n, FLOOR_WORDS)
    runs = ItemIndex.build([texts[place]], floor, floor, most_places=_MOST_PLACES)
    item = _Item(texts[place], runs, coverage)
    found: list[_Found] = []
    documents = characters = 0
    for rows in _batches(run):
        texts = [str(row["text"]) for row in rows]
        found += _search(item, rows, split_words(texts), texts, n)
        documents, characters = documents + len(rows), characters + sum(map(len, texts))
        if tick:
            tick(len(rows))
    found.sort(key=lambda each: (-each.longest, -count_shared(each.runs, n), each.id))
    close = [each for each in found if each.longest >= n or each.coverage is not None]
    training, sidecars = read_training(run), Sidecars(run.tokens_root)
    return ItemTrace(
        task=task, index=index, text=item.text, words=words, ngram=n, item_ngrams=max(0, words - n + 1),
        by_coverage=coverage is not None,
        overlapping=len(close), overlapping_kept=sum(each.rejection is None for each in close), closest=not close,
        documents=[_overlap(each, n, training, sidecars) for each in (close or found)[:top]],
        searched_documents=documents, searched_characters=characters,
        steps_done=training.step if training else None, steps_planned=training.steps_planned if training else None,
        answer=read_answer(run, task, index),
    )  # fmt: skip


def read_answer(run: RunLayout, task: str, index: int) -> dict[str, Any] | None:
    """What the evaluation recorded about an item: prediction, target, correct; None where it recorded nothing."""
    path = run.eval / "samples" / f"{task}.jsonl"
    if not is_artifact(run.eval) or not path.is_file():
        return None
    for line in path.read_text(encoding="utf-8").split("\n"):
        sample: dict[str, Any] = json.loads(line) if line else {}
        if sample.get("index") == index:
            return {name: sample.get(name) for name in ("prediction", "target", "correct")}
    return None


def count_documents(run: RunLayout) -> int:
    """How many documents, kept and rejected, a search reads."""
    return sum(count_rows(path) for path, _ in document_files(run))


def _batches(run: RunLayout) -> Iterator[list[dict[str, Any]]]:
    """Rows of all documents, about a million characters at a time, so that memory does not grow with the corpus."""
    for path, kept in document_files(run):
        columns = ["id", "source", "url", "text"] + ([] if kept else ["operator", "reason", "detail"])
        waiting: list[dict[str, Any]] = []
        characters = 0
        for row in iterate_rows(path, columns, _BATCH_ROWS):
            waiting.append(row)
            characters += len(row["text"])
            if characters >= _BATCH_CHARACTERS:
                yield waiting
                waiting, characters = [], 0
        if waiting:
            yield waiting


def _search(item: _Item, rows: list[dict[str, Any]], words: Words, texts: list[str], n: int) -> list[_Found]:
    numbers = set(item.runs.texts_with(words))
    if item.coverage is not None:
        numbers.update(item.coverage.texts_with(words))
    found: list[_Found] = []
    for number in sorted(numbers):
        mine = split_words([texts[number]])
        runs = item.runs.runs(mine)
        held: list[Covered] = item.coverage.found(mine) if item.coverage is not None else []
        if not runs and not held:
            continue
        shown: Sequence[Run | Covered] = [run for run in runs if run.stop - run.first >= n] or held or runs[:1]
        shared: list[SharedText] = []
        for each in shown[:_SHOWN_TEXTS]:
            _, start, end = mine.characters(each.first, each.stop)
            shared.append(SharedText(each.stop - each.first, texts[number][start:end]))
        row = rows[number]
        rejection = Rejection(row["operator"], row["reason"], row["detail"]) if "operator" in row else None
        longest = max([run.stop - run.first for run in runs[:1]] + [each.longest for each in held])
        coverage = held[0].coverage if held else None
        found.append(_Found(row["id"], row["source"], row["url"], rejection, runs, longest, coverage, shared))
    return found


def _overlap(found: _Found, n: int, training: Training | None, sidecars: Sidecars) -> Overlap:
    place = sidecars.place(found.source, found.id) if found.rejection is None else None
    readings: list[Reading] = []
    if training is not None and place is not None and place.split == "train":
        readings = training.readings(place.source, place.token_start, place.token_count)
    return Overlap(
        id=found.id, source=found.source, url=found.url, longest=found.longest,
        coverage=None if found.coverage is None else found.coverage / 1000,
        shared_ngrams=count_shared(found.runs, n), texts=found.texts, rejection=found.rejection, place=place,
        readings=readings,
    )  # fmt: skip
