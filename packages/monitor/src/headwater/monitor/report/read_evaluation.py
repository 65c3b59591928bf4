"""Evaluation: `RUN/eval/results.json`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headwater.core.layout import RunLayout

from .files import Row, RunFiles, number, whole
from .view import Bits, Evaluation, Score

#: The row of `bits_per_byte` that is over all sources.
TOTAL = "total"


def read_evaluation(files: RunFiles, run: RunLayout) -> Evaluation | None:
    """The evaluation, or `None` when there is none."""
    results = files.json(run.eval / "results.json")
    if results is None:
        return None
    rows = list(_objects(results.get("scores")))
    bits = [
        Bits(str(row.get("source")), value, number(row, "unigram"), whole(row, "documents"), whole(row, "bytes"))
        for row in _objects(results.get("bits_per_byte"))
        if (value := number(row, "model")) is not None
    ]
    model = results.get("model")
    return Evaluation(
        scores=[score for row in rows if (score := _score(row)) is not None],
        total=next((row for row in bits if row.source == TOTAL), None),
        by_source=[row for row in bits if row.source != TOTAL],
        checkpoint_step=whole(model, "step") if isinstance(model, dict) else None,
        refused={str(row.get("task")): str(row.get("reason")) for row in _objects(results.get("refused"))},
        notes=list(dict.fromkeys(_cuts(rows))),
    )


def _objects(value: Any) -> Iterator[Row]:
    yield from (row for row in value if isinstance(row, dict)) if isinstance(value, list) else ()


def _score(row: Row) -> Score | None:
    value = number(row, "value")
    if value is None:
        return None
    interval = row.get("interval")
    interval = interval if isinstance(interval, dict) else {}
    low, high = number(interval, "low"), number(interval, "high")
    answers = str(row.get("filter", "none"))
    metric = str(row.get("metric", "score"))
    return Score(
        task=str(row.get("task", "task")),
        metric=metric if answers == "none" else f"{metric} ({answers})",
        value=value,
        low=value if low is None else low,
        high=value if high is None else high,
        n=whole(row, "items") or 0,
        chance=number(row, "chance"),
        few_shot=whole(row, "few_shot") or 0,
    )


def _cuts(rows: list[Row]) -> Iterator[str]:
    """Sentences on what was cut; a score over cut prompts is not the score it seems to be."""
    for row in rows:
        task, items = row.get("task"), whole(row, "items") or 0
        if cut := whole(row, "truncated"):
            yield f"{task}: {cut:,} of {items:,} prompts were cut to fit the model."
        if cut := whole(row, "cut_short"):
            yield f"{task}: {cut:,} of {items:,} answers ended at the length limit."
