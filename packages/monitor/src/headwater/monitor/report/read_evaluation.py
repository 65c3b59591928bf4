"""Evaluation: ``RUN/eval/results.json``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headwater.core.layout import RunLayout

from .files import Row, RunFiles, number, whole
from .view import Evaluation, Score


def read_evaluation(files: RunFiles, run: RunLayout) -> Evaluation | None:
    """The evaluation, or ``None`` when there is none."""
    results = files.json(run.eval / "results.json")
    if results is None:
        return None
    scores = [score for task, row in _tasks(results) if (score := _score(task, row)) is not None]
    bits = results.get("bits_per_byte")
    bits = bits if isinstance(bits, dict) else {"model": bits}
    sources = bits.get("sources") or bits.get("by_source") or {}
    by_source = {
        str(name): value
        for name, row in (sources.items() if isinstance(sources, dict) else ())
        if (value := number(row if isinstance(row, dict) else {"model": row}, "model", "bits_per_byte")) is not None
    }
    checkpoint = results.get("checkpoint")
    step = whole(checkpoint, "step") if isinstance(checkpoint, dict) else whole(results, "step", "checkpoint_step")
    return Evaluation(
        scores=scores,
        bits_per_byte=number(bits, "model", "bits_per_byte"),
        unigram_bits_per_byte=number(bits, "unigram", "unigram_bits_per_byte"),
        by_source=by_source,
        checkpoint_step=step,
        notes=[str(note) for note in results.get("notes") or [] if note],
    )


def _tasks(results: Row) -> Iterator[tuple[str, Row]]:
    tasks: Any = results.get("tasks") or {}
    if isinstance(tasks, dict):
        tasks = [{"task": name, **row} for name, row in tasks.items() if isinstance(row, dict)]
    for task in tasks:
        if not isinstance(task, dict):
            continue
        name = str(task.get("task") or task.get("name") or "task")
        metrics = task.get("metrics")
        if isinstance(metrics, dict):
            for metric, row in metrics.items():
                if isinstance(row, dict):
                    yield name, {**task, "metric": metric, **row}
        else:
            yield name, task


def _score(task: str, row: Row) -> Score | None:
    value = number(row, "value", "score")
    if value is None:
        return None
    interval = row.get("ci") or row.get("interval") or {}
    if isinstance(interval, list | tuple) and len(interval) == 2:
        interval = {"low": interval[0], "high": interval[1]}
    interval = {**row, **interval} if isinstance(interval, dict) else row
    error = number(row, "stderr") or 0.0
    low, high = number(interval, "low", "ci_low"), number(interval, "high", "ci_high")
    return Score(
        task=task,
        metric=str(row.get("metric", "score")),
        value=value,
        low=value - 1.96 * error if low is None else low,
        high=value + 1.96 * error if high is None else high,
        n=whole(row, "n", "items") or 0,
        chance=number(row, "chance"),
    )
