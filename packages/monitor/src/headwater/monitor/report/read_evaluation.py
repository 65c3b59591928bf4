"""Evaluation: `RUN/eval/results.json`, and those of the checkpoints that were watched, `RUN/evals/step-…`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headwater.core.layout import RunLayout
from headwater.core.page.line import Curve
from headwater.core.page.whisker import Score

from .files import Row, RunFiles, number, whole
from .view import Bits, Evaluation, History

#: Moves while accuracy is still at chance.
GOLD = "gold_bits_per_byte"


def read_evaluation(files: RunFiles, run: RunLayout) -> Evaluation | None:
    """The evaluation, or `None` when there is none."""
    return _read(files, run.eval / "results.json")


def read_history(files: RunFiles, run: RunLayout) -> list[History]:
    """The headline scores and the bits per byte of each evaluated checkpoint, over its steps; one point is no curve."""
    points: dict[tuple[str, str], list[tuple[float, Score]]] = {}
    for folder in sorted(path for path in run.evals.glob("step-*") if path.is_dir()):
        found = _read(files, folder / "results.json")
        if found is None or found.checkpoint_step is None:
            continue
        step = float(found.checkpoint_step)
        for score in found.headline + [score for score in found.top if score.metric == GOLD]:
            points.setdefault((score.task, score.metric), []).append((step, score))
        if found.total is not None:
            total = Score("held-out text", "bits per byte", found.total.model, 0.0, 0.0, 0, None)
            points.setdefault((total.task, total.metric), []).append((step, total))
    histories: list[History] = []
    for (task, metric), row in points.items():
        if len(row) < 2:
            continue
        curve = Curve(f"{task} {metric}", [step for step, _ in row], [score.value for _, score in row])
        share = all(score.is_share for _, score in row)
        histories.append(History(task, metric, curve, share, row[-1][1].chance))
    return histories


def _read(files: RunFiles, path: Path) -> Evaluation | None:
    results = files.json(path)
    if results is None:
        return None
    if not isinstance(results.get("tasks"), list):
        files.note(path, "it has no list of tasks")
        return None
    bits = _object(results.get("bits_per_byte"))
    sources = ((str(name), _object(row)) for name, row in _object(bits.get("sources")).items())
    return Evaluation(
        scores=[score for row in _objects(results["tasks"]) if (score := _score(row)) is not None],
        total=_bits("all sources", bits),
        by_source=[found for name, row in sources if (found := _bits(name, row)) is not None],
        checkpoint_step=whole(_object(results.get("checkpoint")), "step"),
        refused={str(row.get("task")): str(row.get("reason")) for row in _objects(results.get("refused"))},
        notes=[str(note) for note in results.get("notes") or ()],
    )


def _object(value: Any) -> Row:
    return value if isinstance(value, dict) else {}


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
        group=row.get("group") is True,
    )


def _bits(source: str, row: Row) -> Bits | None:
    value = number(row, "model")
    if value is None:
        return None
    return Bits(source, value, number(row, "unigram"), whole(row, "documents"), whole(row, "bytes"))
