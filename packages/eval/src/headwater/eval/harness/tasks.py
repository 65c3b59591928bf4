"""Finds lm-eval tasks by name, fast when they are ours, and says which may not run."""

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_eval.api.group import Group
from lm_eval.api.task import Task
from lm_eval.tasks import TaskManager

import headwater.eval as package
from headwater.core.errors import EvalError, HeadwaterError
from headwater.eval.harness.code_metric import sandboxed_code_eval, uses_sandbox
from headwater.eval.harness.hub_data import HubFolder
from headwater.eval.harness.index import Known
from headwater.eval.harness.names import unknown_task
from headwater.eval.results import Refused

OWN_TASKS = Path(package.__file__).parent / "tasks"


@dataclass(frozen=True)
class Prompts:
    """What a task needs that makes prompts of certain lengths.

    Attributes:
        tokenizer: Folder with the model's `tokenizer.json`.
        lengths: Tokens of a prompt with its answer.
    """

    tokenizer: Path
    lengths: tuple[int, ...]


@dataclass
class LoadedTasks:
    """Tasks and groups ready to run.

    Attributes:
        names: What was asked for, in order.
        tasks: Leaf task name → task.
        groups: Group name → group.
        refused: Leaf tasks that must not run, with the reason.
    """

    names: list[str]
    tasks: dict[str, Task]
    groups: dict[str, Group] = field(default_factory=dict[str, Group])
    refused: list[Refused] = field(default_factory=list[Refused])
    asked: dict[str, str] = field(default_factory=dict[str, str])
    """Leaf task → the name that asked for it first."""


def load_tasks(
    names: Sequence[str],
    include: Sequence[Path],
    *,
    hub: bool,
    sandbox_problem: str | None,
    data: HubFolder | None = None,
    prompts: Prompts | None = None,
) -> LoadedTasks:
    """Builds the named tasks and groups, with their data.

    Args:
        names: Task, group or tag names.
        include: Folders of task files that come before lm-eval's own.
        hub: Whether data may come from the hub (only used in messages here).
        sandbox_problem: Why generated code cannot run here, or None when it can.
        data: Data sets that were pulled.
        prompts: For tasks that make their prompts to measure.

    Raises:
        ConfigError: A name that is no task.
        EvalError: A task's data or definition cannot be loaded.
    """
    manager = _manager(names, [OWN_TASKS, *include], prompts)
    tasks: dict[str, Task] = {}
    groups: dict[str, Group] = {}
    asked: dict[str, str] = {}
    for name in names:
        try:
            with sandboxed_code_eval(), data.answering(hub=hub) if data is not None else nullcontext():
                loaded = manager.load([name])
        except HeadwaterError:
            raise
        except Exception as error:  # a task file may run any code and read any data set
            raise _not_loaded(name, error, hub=hub) from error
        tasks |= loaded["tasks"]
        groups |= loaded.get("groups", {})
        for leaf in loaded["tasks"]:
            asked.setdefault(leaf, name)
    found = LoadedTasks(list(names), tasks, groups, asked=asked)
    for name, task in list(tasks.items()):
        if (reason := _refusal(task, sandbox_problem)) is not None:
            found.refused.append(Refused(task=name, reason=reason))
            del tasks[name]
    return found


def _not_loaded(name: str, error: Exception, *, hub: bool) -> EvalError:
    cause = f"{type(error).__name__}: {_one_line(error)}"
    # What `datasets` raises for a data set that it may not or cannot fetch and does not have.
    if not isinstance(error, ConnectionError | FileNotFoundError):
        return EvalError(f"the task {name} cannot be loaded: {cause}")
    pulled = f"made where there is a network by: headwater eval data pull DIR --tasks {name}"
    give = f"give a folder that holds it with --data-dir DIR or eval.data_dir ({pulled})"
    if hub:
        return EvalError(
            f"the task {name} has no data: the Hugging Face hub cannot be reached, or does not have it", found=cause,
            hint=f"try again where there is a network, or {give}",
        )  # fmt: skip
    return EvalError(
        f"the task {name} has no data here, and the hub is not allowed", found=cause,
        hint=f"{give}, or allow the Hugging Face hub with --hub or eval.hub=true",
    )  # fmt: skip


def pull(names: Sequence[str], include: Sequence[Path], data: HubFolder) -> list[Path]:
    """Writes the data of tasks and groups into a folder.

    Args:
        names: Task, group or tag names.
        include: Folders of task files that come before lm-eval's own.
        data: Where it is written.

    Returns:
        The folders written, one a data set.

    Raises:
        ConfigError: A name that is no task.
        EvalError: A task's data cannot be had.
    """
    manager = _manager(names, [OWN_TASKS, *include])
    own = TaskManager(include_defaults=False, include_path=[OWN_TASKS]).task_index
    with sandboxed_code_eval(), data.recording() as written:
        for name in names:
            if name in own:
                continue  # comes with its items, or makes them
            try:
                manager.load([name])
            except HeadwaterError:
                raise
            except Exception as error:  # see load_tasks
                raise _not_loaded(name, error, hub=True) from error
    return list(dict.fromkeys(written))


def _manager(names: Sequence[str], include: Sequence[Path], prompts: Prompts | None = None) -> TaskManager:
    paths: list[str | Path] = list(include)
    # The names are those that lm-eval's RULER tasks read.
    made: dict[str, Any] = (
        {"tokenizer": str(prompts.tokenizer), "max_seq_lengths": list(prompts.lengths)} if prompts else {}
    )
    manager = TaskManager(include_defaults=False, include_path=paths, metadata=made)
    if all(name in manager.task_index for name in names):
        return manager
    known = Known()
    for name, entry in known.entries(names).items():
        manager.task_index.setdefault(name, entry)
    for name in names:
        if name not in manager.task_index:
            raise unknown_task(name, [*manager.all_tasks, *known.names])
    return manager


def _refusal(task: Task, sandbox_problem: str | None) -> str | None:
    """Why a task must not run here, or None when it may."""
    if not getattr(task, "UNSAFE_CODE", False):
        return None
    functions: dict[str, Any] = getattr(task, "_metric_fn_list", {})
    outside = sorted(name for name, function in functions.items() if not (_is_own(function) or uses_sandbox(function)))
    if outside or not functions:
        return (
            f"it runs generated code with a metric that does not use the sandbox ({', '.join(outside) or 'none named'})"
        )
    return None if sandbox_problem is None else f"generated code cannot run in a sandbox here: {sandbox_problem}"


def _is_own(function: Any) -> bool:
    """Whether a metric is defined in this package, whose code metrics all use the sandbox."""
    function = getattr(function, "__self__", function)
    try:
        file = inspect.getsourcefile(function)
    except TypeError:
        return False
    return file is not None and Path(file).resolve().is_relative_to(OWN_TASKS.parent.resolve())


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else "no message"
