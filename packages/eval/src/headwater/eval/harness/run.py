"""Runs lm-eval tasks one after the other, keeping each as soon as it is finished."""

import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval import utils
from lm_eval.api.task import Task

from headwater.core.errors import ConfigError
from headwater.core.storage import atomic_write, storage_errors
from headwater.eval.harness.measure import measure
from headwater.eval.harness.model import HeadwaterLM
from headwater.eval.harness.samples import item_samples
from headwater.eval.harness.scores import add_gold, group_rows, task_outcome
from headwater.eval.harness.tasks import LoadedTasks
from headwater.eval.results import Score, TaskOutcome

# lm-eval's own defaults, so that the few-shot examples drawn are those of its command line.
_RANDOM_SEED, _OTHER_SEED = 0, 1234
# lm-eval compiles a task's templates again for every item.
utils.env.from_string = lru_cache(maxsize=4096)(utils.env.from_string)  # pyright: ignore[reportAttributeAccessIssue]


def run_task(
    lm: HeadwaterLM,
    name: str,
    task: Task,
    work: Path,
    *,
    limit: int | None,
    few_shot: int | None,
    items: int | None = None,
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
        items: So many of those items, drawn evenly, the same ones each time.
    """
    kept = work / "outcomes" / f"{name}.json"
    if kept.is_file():
        return TaskOutcome.model_validate_json(kept.read_bytes())
    _set_few_shot(task, few_shot)
    lm.versions[name] = str(task.VERSION)
    # Seeded for each task, so that a resumed evaluation draws what an uninterrupted one draws.
    random.seed(_RANDOM_SEED)
    np.random.seed(_OTHER_SEED)
    row, samples = measure(lm, name, task, limit=limit, items=items)
    add_gold(task, row, samples)
    outcome = task_outcome(lm, name, task, row, samples)
    lines = [sample.model_dump_json() for sample in item_samples(lm, name, task, samples)]
    for folder in ("samples", "outcomes"):
        with storage_errors("create", work / folder):
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
        scores += group_rows(group, dict(group.aggregate(metrics)), [by_task[str(leaf)] for leaf in leaves])
    return scores


def _set_few_shot(task: Task, few_shot: int | None) -> None:
    own = task.get_config("num_fewshot")
    if few_shot is not None and own != 0:
        task.set_config(key="num_fewshot", value=few_shot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=_OTHER_SEED)
    wanted = task.get_config("num_fewshot")
    examples = task.fewshot_docs() if wanted else None
    if examples is not None and len(list(examples)) < wanted:
        raise ConfigError(
            f"the task {task.task_name} has fewer examples than eval.few_shot asks for", found=wanted,
            expected=f"at most {len(list(examples))}",
        )  # fmt: skip
