"""The documents, kept and rejected, that share text with an evaluation item."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from headwater.core.errors import DataError
from headwater.core.layout import RunLayout
from headwater.core.manifest import read_manifest
from headwater.core.ngrams import Words, split_words
from headwater.core.parquet import count_rows, iterate_rows, read_rows
from headwater.core.sidecar import Place, Sidecars
from headwater.core.trace.documents import Rejection, document_files
from headwater.core.trace.overlap import ItemGrams, Run, count_shared, outermost
from headwater.core.trace.training import Reading, Training, read_training

FLOOR_WORDS = 5
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
        overlapping: How many documents share at least one n-gram, and how many of them were kept.
        closest: Whether `documents` are only the nearest ones, because none shares an n-gram.
        documents: At most as many as asked for, most overlap first.
        searched: Documents and characters searched.
    """

    task: str
    index: int
    text: str
    words: int
    ngram: int
    item_ngrams: int
    overlapping: int
    overlapping_kept: int
    closest: bool
    documents: list[Overlap]
    searched_documents: int
    searched_characters: int
    steps_done: int | None
    steps_planned: int | None


@dataclass(frozen=True)
class _Found:
    id: str
    source: str
    url: str
    rejection: Rejection | None
    runs: list[Run]
    texts: list[SharedText]


def read_item(run: RunLayout, task: str, index: int) -> str:
    """The text of an evaluation item.

    Raises:
        DataError: No such task or index.
    """
    read_manifest(run.items)
    rows = read_rows(run.items / "items.parquet", ["task", "index", "text"])
    texts: dict[int, str] = {row["index"]: row["text"] for row in rows if row["task"] == task}
    if not texts:
        known = sorted({str(row["task"]) for row in rows})
        raise DataError(f"there is no task {task} in {run.items}", expected=f"one of: {', '.join(known)}")
    if index not in texts:
        raise DataError(f"task {task} has no item {index}", expected=f"{min(texts)} to {max(texts)}")
    return texts[index]


def trace_item(
    run: RunLayout, task: str, index: int, *, ngram: int = 13, top: int = 20, tick: Callable[[int], None] | None = None
) -> ItemTrace:
    """Searches every document, kept or rejected, for text of an evaluation item.

    Args:
        run: The run folder.
        task: The item's task.
        index: The item's index in the task.
        ngram: Words in a row that count as overlap.
        top: How many documents to return.
        tick: Called with the number of documents searched since the last call.

    Raises:
        DataError: No such item.
    """
    text = read_item(run, task, index)
    item = split_words([text])
    n = min(ngram, max(1, len(item)))
    grams = ItemGrams(item, min(n, FLOOR_WORDS))
    found: list[_Found] = []
    documents = characters = 0
    for rows in _batches(run):
        texts = [str(row["text"]) for row in rows]
        found += _search(grams, rows, split_words(texts), texts, n)
        documents, characters = documents + len(rows), characters + sum(map(len, texts))
        if tick:
            tick(len(rows))
    found.sort(key=lambda each: (-each.runs[0].length, -count_shared(each.runs, n), each.id))
    close = [each for each in found if each.runs[0].length >= n]
    training, sidecars = read_training(run), Sidecars(run.tokens_root)
    return ItemTrace(
        task=task, index=index, text=text, words=len(item), ngram=n, item_ngrams=max(0, len(item) - n + 1),
        overlapping=len(close), overlapping_kept=sum(each.rejection is None for each in close), closest=not close,
        documents=[_overlap(each, n, training, sidecars) for each in (close or found)[:top]],
        searched_documents=documents, searched_characters=characters,
        steps_done=training.step if training else None, steps_planned=training.steps_planned if training else None,
    )  # fmt: skip


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


def _search(grams: ItemGrams, rows: list[dict[str, Any]], words: Words, texts: list[str], n: int) -> list[_Found]:
    by_text: dict[int, list[Run]] = {}
    for run in grams.shared_runs(words):
        by_text.setdefault(int(words.text_of(run.place)), []).append(run)
    found: list[_Found] = []
    for number, runs in by_text.items():
        row, best = rows[number], outermost(runs)
        shown = [run for run in best if run.length >= n][:_SHOWN_TEXTS] or best[:1]
        shared: list[SharedText] = []
        for run in shown:
            _, start, stop = words.characters(run.place, run.place + run.length)
            shared.append(SharedText(run.length, texts[number][start:stop]))
        rejection = Rejection(row["operator"], row["reason"], row["detail"]) if "operator" in row else None
        found.append(_Found(row["id"], row["source"], row["url"], rejection, best, shared))
    return found


def _overlap(found: _Found, n: int, training: Training | None, sidecars: Sidecars) -> Overlap:
    place = sidecars.place(found.source, found.id) if found.rejection is None else None
    readings: list[Reading] = []
    if training is not None and place is not None and place.split == "train":
        readings = training.readings(found.source, place.token_start, place.token_count)
    return Overlap(
        id=found.id, source=found.source, url=found.url, longest=found.runs[0].length,
        shared_ngrams=count_shared(found.runs, n), texts=found.texts, rejection=found.rejection, place=place,
        readings=readings,
    )  # fmt: skip
