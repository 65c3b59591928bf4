"""Packs the items of an evaluation for the page: columns, so that 14,000 of them stay small."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Sequence
from typing import Any

from headwater.eval.gate import Evaluated
from headwater.eval.results import Sample

PLAIN_BYTES = 400_000
"""What is longer is compressed."""
_TRUNCATED, _CUT_SHORT = 1, 2


def pack(this: Evaluated, other: Evaluated | None = None) -> dict[str, Any]:
    """Every item of every task as columns.

    Columns: `task` and `choices` are places in the lists `tasks` and `choice_sets`; `marks` has bit 1 where the prompt
    was cut and bit 2 where the answer was; `overlap` is 0, 1 or none. What the model did is in the columns of
    `answers`, for this evaluation, then for the other one, with none where that has not the item.

    Args:
        this: The evaluation.
        other: Another one, whose answers to the same items stand beside.
    """
    tasks: list[dict[str, Any]] = []
    choice_sets: dict[tuple[str, ...], int] = {}
    rows: list[tuple[int, Sample, Sample | None]] = []
    for name in leaves(this):
        own = this.samples(name)
        theirs = other.samples(name) if other is not None and name in leaves(other) else {}
        if not own:
            continue
        metrics = [[answers, metric] for answers, answer in next(iter(own.values())).filters.items()
                   for metric in answer["metrics"]]  # fmt: skip
        tasks.append({"name": name, "metrics": metrics})
        rows += [(len(tasks) - 1, sample, theirs.get(key)) for key, sample in own.items()]
    samples = [sample for _, sample, _ in rows]
    return {
        "tasks": tasks,
        "task": [task for task, _, _ in rows],
        "index": [sample.index for sample in samples],
        "question": [sample.question for sample in samples],
        "choices": [
            None if s.choices is None else choice_sets.setdefault(tuple(s.choices), len(choice_sets)) for s in samples
        ],
        "choice_sets": list(choice_sets),
        "target": [sample.target for sample in samples],
        "overlap": [None if sample.overlap is None else int(sample.overlap) for sample in samples],
        "answers": [
            _answers(tasks, [(task, sample) for task, sample, _ in rows]),
            *([_answers(tasks, [(task, sample) for task, _, sample in rows])] if other is not None else []),
        ],
    }


def leaves(evaluated: Evaluated) -> list[str]:
    """The tasks that were run, in order."""
    return list(dict.fromkeys(score.task for score in evaluated.results.tasks if not score.group))


def embed(value: Any, *, plain: bool = False) -> str:
    """JSON for a script element: no character of it can end the element. Long JSON is compressed, in base64.

    Args:
        value: What JSON can say; numbers that are not finite become null.
        plain: Never compress: for browsers without `DecompressionStream` (before 2023).
    """
    text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    content = text.encode("utf-8", "replace")
    if plain or len(content) <= PLAIN_BYTES:
        return content.decode().replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    # No time in the header: the same page for the same evaluation.
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _answers(tasks: Sequence[dict[str, Any]], rows: Sequence[tuple[int, Sample | None]]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        name: [] for name in ("correct", "prediction", "logprobs", "greedy", "response", "marks", "values", "extracted")
    }
    for task, sample in rows:
        if sample is None:
            for column in columns.values():
                column.append(None)
            continue
        columns["correct"].append(sample.correct)
        columns["prediction"].append(sample.prediction)
        columns["logprobs"].append(None if sample.logprobs is None else [round(each, 4) for each in sample.logprobs])
        columns["greedy"].append(None if sample.greedy is None else [i for i, yes in enumerate(sample.greedy) if yes])
        columns["response"].append(sample.response)
        columns["marks"].append(_TRUNCATED * sample.truncated + _CUT_SHORT * sample.cut_short)
        columns["values"].append(
            [_number(sample.filters.get(answers, {}).get("metrics", {}).get(metric)) for answers, metric in
             tasks[task]["metrics"]]
        )  # fmt: skip
        # Of a choice it would say the prediction again.
        named = {name: answer.get("prediction") for name, answer in sample.filters.items()}
        columns["extracted"].append(None if sample.logprobs is not None else named)
    return columns


def _number(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float) and math.isfinite(value) else value


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
