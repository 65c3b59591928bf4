"""One lm-eval task from its requests to its metrics.

`lm_eval.evaluator.evaluate` does the same for many tasks and processes. Its module imports what reports to Weights &
Biases and to the hub, pandas and `datasets` among it, which takes as long as the rest of lm-eval.
"""

from __future__ import annotations

import random
from collections import defaultdict
from functools import partial
from typing import Any

import lm_eval.api.task
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean, stderr_for_metric
from lm_eval.api.task import Task

from headwater.core.errors import EvalError
from headwater.eval.harness.model import HeadwaterLM

_BOOTSTRAP = 1000
_SLOW = ("bleu", "chrf", "chrf++", "ter")
"""Metrics that lm-eval draws no more than a hundred bootstrap samples of."""

# The stage shows its own bars. In a training, which has imported tqdm before, TQDM_DISABLE comes too late.
lm_eval.api.task.tqdm = partial(lm_eval.api.task.tqdm, disable=True)  # pyright: ignore[reportPrivateImportUsage, reportAttributeAccessIssue]


def measure(
    lm: HeadwaterLM, name: str, task: Task, *, limit: int | None, items: int | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Asks the model everything that a task wants to know.

    Args:
        lm: The model.
        name: The task's name.
        task: The task, with its examples chosen.
        limit: Only the first so many items.
        items: So many of those items, drawn evenly, the same ones each time.

    Returns:
        As lm-eval's `evaluate`: the task's row of results, "metric,filter" → value among them, and a sample an item and
        filter.

    Raises:
        EvalError: The task has no items, or items of more than text.
    """
    if getattr(task, "MULTIMODAL", False):
        raise EvalError(f"the task {name} shows pictures or plays sounds", expected="a task of text alone")
    chosen = _chosen(name, task, limit, items)
    task.build_all_requests(limit=limit, samples=chosen)
    by_item = _answered(lm, task, chosen)
    task.apply_filters()
    values: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    samples: list[dict[str, Any]] = []
    for answer_filter in task.instances[0].filtered_resps:
        for number, doc in task.doc_iterator(limit=limit, samples=chosen):
            index = chosen[number] if chosen else number
            sample = _sample(task, doc, index, by_item[index], str(answer_filter))
            samples.append(sample)
            for metric in sample["metrics"]:
                values[metric, str(answer_filter)].append(sample[metric])
    return _row(name, task, values), samples


def _chosen(name: str, task: Task, limit: int | None, items: int | None) -> list[int] | None:
    """Which items are asked, if not all of the first."""
    count = len(task.eval_docs) if limit is None else min(limit, len(task.eval_docs))
    if count == 0:
        raise EvalError(f"the task {name} has no items", hint="check its data")
    if items is None or items >= count:
        return None
    return sorted(random.Random(name).sample(range(count), items))  # noqa: S311 - any will do


def _answered(lm: HeadwaterLM, task: Task, chosen: list[int] | None) -> dict[int, list[Instance]]:
    """Has all requests answered; they by their items, in the order in which the task reads them."""
    by_kind: defaultdict[str, list[Instance]] = defaultdict(list)
    by_item: defaultdict[int, list[Instance]] = defaultdict(list)
    for instance in task.instances:
        if chosen:  # lm-eval counts those that are asked
            instance.doc_id = chosen[instance.doc_id or 0]
        by_kind[instance.request_type] += [instance] * (instance.repeats or 1)
        by_item[instance.doc_id or 0].append(instance)
    for kind, instances in by_kind.items():
        for instance, response in zip(instances, getattr(lm, kind)(instances), strict=True):
            instance.resps.append(response)
    for instances in by_item.values():
        instances.sort(key=lambda instance: instance.idx)
    return by_item


def _sample(task: Task, doc: Any, index: int, instances: list[Instance], answer_filter: str) -> dict[str, Any]:
    filtered = [instance.filtered_resps[answer_filter] for instance in instances]
    results: Any = task.process_results(doc, filtered)
    metrics: dict[str, Any] = dict(results)
    return {
        "doc_id": index,
        "doc": doc,
        "target": task.doc_to_target(doc),
        "arguments": [instance.args for instance in instances],
        "resps": [instance.resps for instance in instances],
        "filtered_resps": filtered,
        "filter": answer_filter,
        "metrics": list(metrics),
        **metrics,
    }


def _row(name: str, task: Task, values: dict[tuple[str, str], list[Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "alias": task.get_config("task_alias") or name}
    row["sample_len"] = max(map(len, values.values()), default=0)  # not every item has every metric
    for (metric, answer_filter), found in values.items():
        aggregate: Any = (task.aggregation() or {}).get(metric, mean)
        row[f"{metric},{answer_filter}"] = aggregate(found)
        error = stderr_for_metric(aggregate, min(_BOOTSTRAP, 100) if metric in _SLOW else _BOOTSTRAP)
        row[f"{metric}_stderr,{answer_filter}"] = error(found) if error and len(found) > 1 else "N/A"
    return row
