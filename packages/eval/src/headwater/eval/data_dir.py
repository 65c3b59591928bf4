"""Runs lm-eval's mmlu, gsm8k and humaneval on data from a local folder, with no network and no cache.

For every task a small task file is written that includes lm-eval's own (so prompt, examples, filters and metric are
exactly its own) and replaces only where the data comes from. humaneval is the exception: its own file fetches a metric
from the network when it is read, so ours has the same prompt and stop sequences and the sandbox's metric.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from headwater.core.console import warn
from headwater.core.errors import EvalError
from headwater.core.storage import atomic_write, storage_errors
from headwater.eval import checksums
from headwater.eval.tasks.local_data import split_files
from headwater.eval.tasks.packaged import TASKS_FOLDER

FAMILIES = ("mmlu", "gsm8k", "humaneval")
_LAYOUT = "mmlu/<subject>/{dev,test}.parquet, gsm8k/{train,test}.jsonl, humaneval/HumanEval.jsonl.gz"


@dataclass(frozen=True)
class LocalTask:
    """One leaf task that can be read from a data folder.

    Attributes:
        name: lm-eval's name, for example "mmlu_anatomy".
        family: "mmlu", "gsm8k" or "humaneval".
        subject: The MMLU subject.
        tag: lm-eval's tag, which its MMLU groups are made of.
    """

    name: str
    family: str
    subject: str | None = None
    tag: str | None = None


def prepare_data_dir(data_dir: Path, work: Path, tasks: Sequence[str], checksum_file: Path | None = None) -> Path:
    """Checks a data folder and writes the task files that read from it.

    Args:
        data_dir: The data folder.
        work: Folder to write into; the task files hold absolute paths, so they are no part of an artifact.
        tasks: The tasks and groups that will run; those that are not among ours are left to lm-eval.
        checksum_file: Checksums to compare with; by default `SHA256SUMS` in the folder, if it is there.

    Returns:
        The folder of task files, for lm-eval's `include_path`.

    Raises:
        EvalError: The folder lacks data of one of the tasks, or does not match its checksums; all files are named.
    """
    wanted = leaf_tasks(tasks)
    pulled = data_dir / "hub"
    if pulled.is_dir():  # what is not in a folder of its own comes from there
        wanted = [task for task in wanted if (data_dir / task.family).is_dir()]
    check_data_dir(data_dir, wanted, checksum_file)
    data_dir = data_dir.resolve()
    folder = work / "task_files"
    with storage_errors("create", folder):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.yaml"):
            old.unlink()
    for task in wanted:
        atomic_write(folder / f"{task.name}.yaml", _task_file(task, data_dir))
    if any(task.family == "mmlu" for task in wanted):
        for group in _mmlu_groups():
            atomic_write(folder / group.name, _yaml({"include": str(group)}))
    return folder


def check_data_dir(data_dir: Path, wanted: Sequence[LocalTask], checksum_file: Path | None = None) -> None:
    """Checks that a data folder has the data of some tasks, and that its checksums agree.

    Args:
        data_dir: The data folder.
        wanted: The tasks.
        checksum_file: As for `prepare_data_dir`.

    Raises:
        EvalError: As `prepare_data_dir`.
    """
    if not data_dir.is_dir():
        raise EvalError(f"there is no data folder {data_dir}", expected=_LAYOUT)
    data_dir = data_dir.resolve()
    _check_files(data_dir, wanted)
    parts = sorted({task.family for task in wanted}) + ["hub"] * (data_dir / "hub").is_dir()
    if parts:
        _check_sums(data_dir, parts, checksum_file)


def leaf_tasks(names: Sequence[str]) -> list[LocalTask]:
    """The tasks, groups resolved, that can be read from a data folder; other names give nothing. In lm-eval's order."""
    wanted: set[LocalTask] = set()
    for name in names:
        wanted |= {task for task in _all_tasks() if name in (task.name, task.family) or f"{name}_tasks" == task.tag}
    return sorted(wanted, key=_all_tasks().index)


def _check_files(data_dir: Path, wanted: Sequence[LocalTask]) -> None:
    files = [path for task in wanted for path in split_files(data_dir, task.family, task.subject).values()]
    missing = [path.relative_to(data_dir).as_posix() for path in files if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise EvalError(
            f"the data folder {data_dir} lacks {len(missing)} of {len(files)} files",
            found=f"no {', '.join(missing[:10])}{more}",
            expected=_LAYOUT,
        )


def _check_sums(data_dir: Path, families: Sequence[str], checksum_file: Path | None) -> None:
    if checksum_file is None and not (data_dir / checksums.CHECKSUM_FILE).is_file():
        warn(
            f"the data in {data_dir} is unverified: there is no {checksums.CHECKSUM_FILE} "
            "(make one from a copy that you trust: headwater eval data checksum DIR)"
        )
        return
    result = checksums.verify(data_dir, checksum_file, families)
    if not result.ok:
        raise EvalError(
            f"the data in {data_dir} does not match its checksums",
            found="; ".join(result.problems()),
            expected="every file as listed, and no other",
            hint="restore the files, or make new checksums if the change is meant: headwater eval data checksum DIR",
        )


def _task_file(task: LocalTask, data_dir: Path) -> str:
    base = {"gsm8k": lm_eval_tasks() / "gsm8k" / "gsm8k.yaml", "humaneval": TASKS_FOLDER / "humaneval_base"}
    own = base.get(task.family) or _mmlu_folder() / f"{task.name}.yaml"
    options = {"data_dir": str(data_dir), **({"subject": task.subject} if task.subject else {})}
    content: dict[str, Any] = {"include": str(own), "task": task.name, "dataset_kwargs": options}
    return _yaml(content) + f"custom_dataset: !function headwater.eval.tasks.local_data.load_{task.family}\n"


def _yaml(content: dict[str, Any]) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


@lru_cache(maxsize=1)
def _all_tasks() -> tuple[LocalTask, ...]:
    subjects: list[LocalTask] = []
    for path in sorted(_mmlu_folder().glob("mmlu_*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        subjects.append(LocalTask(content["task"], "mmlu", content["dataset_name"], content["tag"]))
    return (*subjects, LocalTask("gsm8k", "gsm8k"), LocalTask("humaneval", "humaneval"))


def _mmlu_groups() -> list[Path]:
    return sorted(_mmlu_folder().glob("_mmlu*.yaml"))


def _mmlu_folder() -> Path:
    return lm_eval_tasks() / "mmlu" / "default"


def lm_eval_tasks() -> Path:
    """Where lm-eval's task files are, found without importing it (that takes seconds)."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise EvalError("lm-eval is not installed", hint="pip install headwater-eval")
    return Path(spec.submodule_search_locations[0]) / "tasks"
