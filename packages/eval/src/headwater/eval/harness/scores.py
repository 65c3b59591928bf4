"""From lm-eval's results to scores with an interval and a chance level."""

import math
from typing import Any

import numpy as np
from lm_eval.api.group import Group
from lm_eval.api.task import ConfigurableTask, Task

from headwater.eval.harness.model import HeadwaterLM
from headwater.eval.intervals import Interval, interval_of_mean, normal, stderr_of_mean
from headwater.eval.results import ConfidenceInterval, Score, TaskOutcome

# Metrics of multiple-choice tasks for which guessing gives one over the number of choices.
_ACCURACIES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info")
_EXACT = ("exact_match", "pass@1")
GOLD = {"gold_bits_per_byte": False, "gold_probability": True}
"""What the right choice of a question got, and whether more is better: see `add_gold`."""


def task_outcome(
    lm: HeadwaterLM, name: str, task: Task, results: dict[str, Any], samples: list[dict[str, Any]]
) -> TaskOutcome:
    """The scores of one task.

    Args:
        lm: The model, which knows what was truncated.
        name: The task's name.
        task: The task.
        results: Its row of results, as `measure` gives it.
        samples: Its samples, one an item and filter.
    """
    row = {key: value for key, value in results.items() if isinstance(value, int | float | str)}
    scores: list[Score] = []
    values: dict[str, list[float]] = {}
    for key in row:
        metric, comma, answer_filter = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        per_item = [s[metric] for s in samples if s["filter"] == answer_filter and metric in s]
        numeric = [float(v) for v in per_item if isinstance(v, int | float | bool)]
        value = float(row[key])
        is_mean = len(numeric) == len(per_item) and math.isclose(float(np.mean(numeric)), value, abs_tol=1e-9)
        if is_mean:
            values[key] = numeric
            interval, stderr = interval_of_mean(numeric), stderr_of_mean(numeric)
        else:
            given = row.get(f"{metric}_stderr,{answer_filter}")
            stderr = float(given) if isinstance(given, int | float) else None
            interval = None if stderr is None else normal(value, stderr)
        chance = _chance(task, metric, samples)
        scores.append(
            Score(
                task=name,
                metric=metric,
                filter=answer_filter,
                value=value,
                stderr=stderr,
                items=len(per_item),
                interval=_interval(interval),
                chance=chance,
                indistinguishable_from_chance=_at_chance(interval, chance),
                higher_is_better=_higher_is_better(task, metric),
                few_shot=int(task.get_config("num_fewshot") or 0),
                version=str(task.VERSION),
                truncated=len(lm.truncated[name]),
                cut_short=len(lm.cut_short[name]),
            )
        )
    return TaskOutcome(task=name, scores=scores, values=values, raw=row)


def add_gold(task: Task, row: dict[str, Any], samples: list[dict[str, Any]]) -> None:
    """Adds what moves while accuracy is still at chance to a multiple-choice task's samples and results.

    `gold_bits_per_byte` are the bits that the right choice took, over its UTF-8 bytes; `gold_probability` is its share
    of the probability of all choices.

    Args:
        task: The task.
        row: lm-eval's results of it; added to.
        samples: lm-eval's samples of it; added to.
    """
    if not isinstance(task, ConfigurableTask) or task.OUTPUT_TYPE != "multiple_choice":
        return
    for sample in samples:
        right, count = sample["target"], len(task.doc_to_choice(sample["doc"]))
        logprobs = [float(answer[0][0]) for answer in sample["resps"][:count]]
        if isinstance(right, bool) or not isinstance(right, int) or not 0 <= right < len(logprobs):
            return
        size = len(str(sample["arguments"][right][1]).encode())
        whole = float(np.logaddexp.reduce(logprobs))
        sample["gold_bits_per_byte"] = -logprobs[right] / math.log(2) / max(size, 1)
        sample["gold_probability"] = math.exp(logprobs[right] - whole)
        sample["metrics"] = [*sample["metrics"], *GOLD]
    for name in GOLD:
        row[f"{name},none"] = float(np.mean([sample[name] for sample in samples if sample["filter"] == "none"]))


def group_rows(group: Group, row: dict[str, Any], leaves: list[TaskOutcome]) -> list[Score]:
    """The scores of a group.

    Where the group's value is the mean over all items of its tasks, so is the interval; otherwise the interval comes
    from lm-eval's standard error.

    Args:
        group: The group.
        row: What the group's own aggregation gave.
        leaves: Its finished tasks.
    """
    scores: list[Score] = []
    for name in GOLD:  # lm-eval aggregates the metrics that its group names
        pooled = [value for leaf in leaves for value in leaf.values.get(f"{name},none", [])]
        if pooled and all(f"{name},none" in leaf.values for leaf in leaves):
            row = row | {f"{name},none": float(np.mean(pooled))}
    for key, value in row.items():
        metric, comma, answer_filter = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        members = [s for leaf in leaves for s in leaf.scores if (s.metric, s.filter) == (metric, answer_filter)]
        if not members:
            continue
        items = sum(s.items for s in members)
        pooled = [v for leaf in leaves for v in leaf.values.get(key, [])]
        given = row.get(f"{metric}_stderr,{answer_filter}")
        stderr = float(given) if isinstance(given, int | float) else None
        if len(pooled) == items and math.isclose(float(np.mean(pooled)), value, abs_tol=1e-9):
            interval = interval_of_mean(pooled)
        else:
            interval = None if stderr is None else normal(float(value), stderr)
        known = [s.chance for s in members if s.chance is not None]
        chance = (
            math.fsum(c * s.items for c, s in zip(known, members, strict=True)) / items
            if len(known) == len(members)
            else None
        )
        scores.append(
            Score(
                task=group.name,
                group=True,
                metric=metric,
                filter=answer_filter,
                value=float(value),
                stderr=stderr,
                items=items,
                interval=_interval(interval),
                chance=chance,
                indistinguishable_from_chance=_at_chance(interval, chance),
                higher_is_better=members[0].higher_is_better,
                few_shot=max(s.few_shot for s in members),
                version=str(group.version),
                truncated=sum(s.truncated for s in members),
                cut_short=sum(s.cut_short for s in members),
                members=tuple(leaf.task for leaf in leaves),
            )
        )
    return scores


def _chance(task: Task, metric: str, samples: list[dict[str, Any]]) -> float | None:
    """The expected score of a guess: one over the choices, or nothing for an exact answer; None when not known."""
    if isinstance(task, ConfigurableTask) and task.OUTPUT_TYPE == "multiple_choice" and metric in _ACCURACIES:
        counts = [len(task.doc_to_choice(sample["doc"])) for sample in samples]
        return math.fsum(1 / count for count in counts) / len(counts)
    if task.OUTPUT_TYPE == "generate_until" and metric in _EXACT:
        return 0.0
    return None


def _higher_is_better(task: Task, metric: str) -> bool | None:
    if metric in GOLD:
        return GOLD[metric]
    directions: dict[str, Any] = task.higher_is_better() or {}
    # A metric function that gives several metrics, pass@1 and pass@10, is declared under its own name only.
    found = directions.get(metric, next(iter(directions.values())) if len(directions) == 1 else None)
    return None if found is None else bool(found)


def _at_chance(interval: Interval | None, chance: float | None) -> bool | None:
    return None if interval is None or chance is None else interval.contains(chance)


def _interval(interval: Interval | None) -> ConfidenceInterval | None:
    if interval is None:
        return None
    return ConfidenceInterval(low=interval.low, high=interval.high, method=interval.method)
