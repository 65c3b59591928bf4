"""Runs lm-eval tasks one after the other, keeping each as soon as it is finished."""

import hashlib
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.api.group import Group
from lm_eval.api.task import Task
from lm_eval.evaluator import evaluate
from lm_eval.utils import handle_non_serializable

from headwater.core.errors import EvalError
from headwater.core.storage import atomic_write
from headwater.eval.harness.model import HeadwaterLM
from headwater.eval.harness.tasks import LoadedTasks
from headwater.eval.intervals import Interval, interval_of_mean, normal, stderr_of_mean
from headwater.eval.results import ConfidenceInterval, Sample, Score, TaskOutcome

# lm-eval's own defaults, so that the few-shot examples drawn are those of its command line.
_RANDOM_SEED, _OTHER_SEED = 0, 1234
_BOOTSTRAP = 1000
# Metrics of multiple-choice tasks for which guessing gives one over the number of choices.
_ACCURACIES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info")
_EXACT = ("exact_match", "pass_at_k", "pass@1", "pass_at_1")


def run_task(
    lm: HeadwaterLM, name: str, task: Task, work: Path, *, limit: int | None, few_shot: int | None
) -> TaskOutcome:
    """Runs one task, or returns what an earlier, interrupted run finished.

    Writes `work/samples/<task>.jsonl`, then `work/outcomes/<task>.json`: a task is finished when the latter exists.

    Args:
        lm: The model.
        name: The task's name.
        task: The task.
        work: Folder that survives a kill.
        limit: Only the first so many items.
        few_shot: Solved examples before each question; by default the task's own number.
    """
    kept = work / "outcomes" / f"{name}.json"
    if kept.is_file():
        return TaskOutcome.model_validate_json(kept.read_bytes())
    _set_few_shot(task, few_shot)
    # Seeded for each task, so that a resumed evaluation draws what an uninterrupted one draws.
    random.seed(_RANDOM_SEED)
    np.random.seed(_OTHER_SEED)
    # `simple_evaluate` would describe this machine on every call, in seconds and in words that differ between machines.
    found: Any = evaluate(
        lm=lm,
        task_dict={"tasks": {name: task}, "groups": {}, "group_map": {}},
        limit=limit,
        bootstrap_iters=_BOOTSTRAP,
        log_samples=True,
        confirm_run_unsafe_code=True,
    )
    samples: list[dict[str, Any]] = found["samples"][name]
    if not samples:
        raise EvalError(f"the task {name} gave no items", hint="check its data")
    outcome = _outcome(lm, name, task, found, samples)
    lines = [sample.model_dump_json() for sample in _samples(lm, name, samples)]
    for folder in ("samples", "outcomes"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    atomic_write(work / "samples" / f"{name}.jsonl", "\n".join(lines) + "\n")
    atomic_write(kept, outcome.model_dump_json())
    return outcome


def group_scores(loaded: LoadedTasks, outcomes: Sequence[TaskOutcome]) -> list[Score]:
    """Aggregates of the groups that were asked for or contained, by lm-eval's own rule.

    A group of which a task was refused has no aggregate: it would look like the whole group's score.
    """
    by_task = {outcome.task: outcome for outcome in outcomes}
    metrics: dict[str, Any] = {name: dict(outcome.raw) for name, outcome in by_task.items()}
    scores: list[Score] = []
    for group in loaded.groups.values():
        leaves = [task.task_name for task in group.get_all_tasks()]
        if any(leaf not in by_task for leaf in leaves):
            continue
        scores += _group_rows(group, dict(group.aggregate(metrics)), [by_task[str(leaf)] for leaf in leaves])
    return scores


def _set_few_shot(task: Task, few_shot: int | None) -> None:
    own = task.get_config("num_fewshot")
    if few_shot is not None and own != 0:
        task.set_config(key="num_fewshot", value=few_shot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=_OTHER_SEED)


def _outcome(
    lm: HeadwaterLM, name: str, task: Task, found: dict[str, Any], samples: list[dict[str, Any]]
) -> TaskOutcome:
    row = {key: value for key, value in found["results"][name].items() if isinstance(value, int | float | str)}
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
                higher_is_better=task.higher_is_better().get(metric),
                few_shot=int(task.get_config("num_fewshot") or 0),
                version=str(task.VERSION),
                truncated=len(lm.truncated[name]),
                cut_short=len(lm.cut_short[name]),
            )
        )
    return TaskOutcome(task=name, scores=scores, values=values, raw=row)


def _group_rows(group: Group, row: dict[str, Any], leaves: list[TaskOutcome]) -> list[Score]:
    scores: list[Score] = []
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
            )
        )
    return scores


def _samples(lm: HeadwaterLM, name: str, samples: list[dict[str, Any]]) -> list[Sample]:
    """One record an item, in the order of the items; lm-eval gives one an item and filter."""
    by_item: dict[int, list[dict[str, Any]]] = {}
    for sample in samples:
        by_item.setdefault(int(sample["doc_id"]), []).append(sample)
    records: list[Sample] = []
    for index, group in sorted(by_item.items()):
        first = group[0]
        answers: dict[str, dict[str, Any]] = {}
        for sample in group:
            metrics = {metric: _plain(sample[metric]) for metric in sample["metrics"]}
            answers[sample["filter"]] = {"prediction": _prediction(sample), "metrics": metrics}
        choices = _choices(first)
        main = first[first["metrics"][0]] if first["metrics"] else None
        records.append(
            Sample(
                index=index,
                target=_plain(first["target"]),
                prediction=answers[first["filter"]]["prediction"],
                correct=float(main) if isinstance(main, int | float | bool) else None,
                logprobs=None if choices is None else [logprob for logprob, _ in choices],
                greedy=None if choices is None else [greedy for _, greedy in choices],
                response=first["resps"][0][0] if isinstance(first["resps"][0][0], str) else None,
                filters=answers,
                truncated=index in lm.truncated[name],
                cut_short=index in lm.cut_short[name],
                prompt_sha256=hashlib.sha256(str(first["arguments"][0][0]).encode()).hexdigest(),
                document_sha256=_document_sha256(first["doc"]),
            )
        )
    return records


def _choices(sample: dict[str, Any]) -> list[tuple[float, bool]] | None:
    answers = [response[0] for response in sample["resps"]]
    if not all(isinstance(a, tuple | list) and len(a) == 2 for a in answers):
        return None
    # Nine decimals: more than any comparison needs.
    return [(round(float(logprob), 9), bool(greedy)) for logprob, greedy in answers]


def _prediction(sample: dict[str, Any]) -> Any:
    choices = _choices(sample)
    if choices is None:
        return _plain(sample["filtered_resps"][0])
    return int(np.argmax([logprob for logprob, _ in choices]))


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=handle_non_serializable))


def _document_sha256(document: Any) -> str:
    text = json.dumps(document, sort_keys=True, default=handle_non_serializable, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _chance(task: Task, metric: str, samples: list[dict[str, Any]]) -> float | None:
    """The expected score of a guess: one over the choices, or nothing for an exact answer; None when not known."""
    if task.OUTPUT_TYPE == "multiple_choice" and metric in _ACCURACIES:
        counts = [len(task.doc_to_choice(sample["doc"])) for sample in samples]
        return math.fsum(1 / count for count in counts) / len(counts)
    if task.OUTPUT_TYPE == "generate_until" and metric in _EXACT:
        return 0.0
    return None


def _at_chance(interval: Interval | None, chance: float | None) -> bool | None:
    return None if interval is None or chance is None else interval.contains(chance)


def _interval(interval: Interval | None) -> ConfidenceInterval | None:
    if interval is None:
        return None
    return ConfidenceInterval(low=interval.low, high=interval.high, method=interval.method)
