"""Reads the item sets that lie beside the task files, for lm-eval and for the items artifact."""

import json
from pathlib import Path
from typing import Any

from headwater.eval.tasks.quiet import drop_custom_dataset_notice
from headwater.eval.tasks.rows import Rows

TASKS_FOLDER = Path(__file__).parent
ITEMS_FOLDER = TASKS_FOLDER / "items"
PREFIX = "headwater_"
MINI_TASKS = ("headwater_mini_mmlu", "headwater_mini_gsm8k", "headwater_mini_humaneval")
SCORED_SPLIT = "test"

drop_custom_dataset_notice()


def read_split(task: str, split: str) -> list[dict[str, Any]]:
    """The items of one split, in their order.

    Args:
        task: One of `MINI_TASKS`.
        split: "test", or the split with the examples: "dev" (mmlu) or "train" (gsm8k).
    """
    path = ITEMS_FOLDER / f"{task.removeprefix(PREFIX)}.{split}.jsonl"
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def splits(task: str) -> list[str]:
    """Names of the splits that a task has."""
    return sorted(path.name.split(".")[1] for path in ITEMS_FOLDER.glob(f"{task.removeprefix(PREFIX)}.*.jsonl"))


def _load(task: str, **_: Any) -> dict[str, Rows]:
    """Every split. lm-eval passes the task's metadata too, which is not needed."""
    return {split: Rows(read_split(task, split)) for split in splits(task)}


# lm-eval names these in a task file's `custom_dataset`. Unlike `dataset_path: json`, they find their files wherever
# the package is installed, and leave nothing in a cache.
def load_mmlu(**options: Any) -> dict[str, Rows]:
    """Items of headwater_mini_mmlu."""
    return _load(MINI_TASKS[0], **options)


def load_gsm8k(**options: Any) -> dict[str, Rows]:
    """Items of headwater_mini_gsm8k."""
    return _load(MINI_TASKS[1], **options)


def load_humaneval(**options: Any) -> dict[str, Rows]:
    """Items of headwater_mini_humaneval."""
    return _load(MINI_TASKS[2], **options)
