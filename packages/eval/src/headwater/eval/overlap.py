"""Scores on the items that training documents hold and on those that none holds, side by side.

`documents/item_overlaps.parquet` says which documents hold which items. An item overlaps when a document that was kept,
and is not held out, holds it. The items of a task are those of `items/` when each has the same content, by SHA-256.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headwater.core.documents import ITEM_OVERLAPS_FILE
from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact, read_manifest
from headwater.core.parquet import read_rows
from headwater.core.storage import atomic_write
from headwater.eval.intervals import interval_of_mean
from headwater.eval.results import ConfidenceInterval, OverlapPart, OverlapSplit, Sample, Score


@dataclass(frozen=True)
class ItemOverlap:
    """What is known about the items of a run.

    Attributes:
        items: Task → the SHA-256 of each item by its index.
        held: (task, index) of the items that training documents hold.
        problem: Why nothing is known.
    """

    items: dict[str, dict[int, str]] = field(default_factory=dict)
    held: frozenset[tuple[str, int]] = frozenset()
    problem: str = ""

    def of(self, task: str, sample: Sample) -> bool | None:
        """Whether a training document holds an item; None when that is not known."""
        same = self.items.get(task, {}).get(sample.index) == sample.document_sha256
        return (task, sample.index) in self.held if same else None


def overlaps_file(run: RunLayout, checkpoint: Path) -> Path | None:
    """Where a run says which documents hold which items, for checkpoints that were trained on them."""
    path = run.documents / ITEM_OVERLAPS_FILE
    return path if is_artifact(checkpoint) and is_artifact(run.documents) and path.is_file() else None


def read_item_overlap(run: RunLayout, checkpoint: Path) -> ItemOverlap:
    """Reads what a run knows about its items."""
    path = overlaps_file(run, checkpoint)
    if path is None or not is_artifact(run.items):
        return ItemOverlap(problem="there is no documents/item_overlaps.parquet of the documents it was trained on")
    compared = {parent.digest for parent in read_manifest(run.documents).parents if parent.kind == "items"}
    if read_manifest(run.items).digest not in compared:
        return ItemOverlap(problem="the documents were compared with other items")
    items: dict[str, dict[int, str]] = {}
    for row in read_rows(run.items / "items.parquet", ["task", "index", "fields_json"]):
        items.setdefault(row["task"], {})[row["index"]] = hashlib.sha256(row["fields_json"].encode()).hexdigest()
    rows = read_rows(path, ["task", "index", "kept", "split"])
    held = frozenset((row["task"], row["index"]) for row in rows if row["kept"] and row["split"] == "train")
    return ItemOverlap(items, held)


def mark_samples(samples: Path, tasks: Sequence[str], overlap: ItemOverlap) -> dict[str, list[Sample]]:
    """Writes into the samples of each task whether training documents hold them; returns them.

    Args:
        samples: The folder with `<task>.jsonl`.
        tasks: Tasks that were run.
        overlap: What is known.
    """
    marked: dict[str, list[Sample]] = {}
    for task in tasks:
        path = samples / f"{task}.jsonl"
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line]
        found = [Sample.model_validate_json(line) for line in lines]
        marked[task] = [each.model_copy(update={"overlap": overlap.of(task, each)}) for each in found]
        atomic_write(path, "\n".join(each.model_dump_json() for each in marked[task]) + "\n")
    return marked


def split_score(score: Score, samples: dict[str, list[Sample]]) -> OverlapSplit | None:
    """A score on overlapping and on other items; None where it is no mean over items whose overlap is all known.

    The parts of a group are means over all items of its tasks.
    """
    rows = [each for task in score.members or (score.task,) for each in samples.get(task, ())]
    values = [each.filters.get(score.filter, {}).get("metrics", {}).get(score.metric) for each in rows]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if not rows or len(numbers) != len(rows) or any(each.overlap is None for each in rows):
        return None
    if not score.group and not math.isclose(math.fsum(numbers) / len(numbers), score.value, abs_tol=1e-9):
        return None
    return OverlapSplit(
        clean=_part([value for value, each in zip(numbers, rows, strict=True) if not each.overlap]),
        overlapping=_part([value for value, each in zip(numbers, rows, strict=True) if each.overlap]),
    )


def overlap_notes(samples: dict[str, list[Sample]], overlap: ItemOverlap) -> list[str]:
    """Which tasks have overlapping items, and of which it is not known."""
    lines: list[str] = []
    counts = {task: sum(each.overlap is True for each in rows) for task, rows in samples.items()}
    if named := ", ".join(f"{task} ({count} of {len(samples[task])})" for task, count in counts.items() if count):
        lines.append(f"Training documents hold items of {named}: compare the scores on clean and on overlapping items.")
    unknown = [task for task, rows in samples.items() if any(each.overlap is None for each in rows)]
    if unknown:
        why = overlap.problem or "the items asked are not those of the run's items artifact"
        named = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        lines.append(f"Whether training documents hold the items is not known for {named}: {why}.")
    return lines


def _part(values: Sequence[float]) -> OverlapPart | None:
    if not values:
        return None
    found = interval_of_mean(values)
    interval = None if found is None else ConfidenceInterval(low=found.low, high=found.high, method=found.method)
    return OverlapPart(value=math.fsum(values) / len(values), items=len(values), interval=interval)
