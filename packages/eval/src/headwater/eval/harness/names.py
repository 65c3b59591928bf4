"""Whether a task exists, without lm-eval's index of it, which takes nine seconds of processor time."""

import difflib
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from headwater.core.errors import ConfigError
from headwater.core.storage import storage_errors
from headwater.eval.data_dir import lm_eval_tasks
from headwater.eval.tasks.packaged import MINI_TASKS, PREFIX, TASKS_FOLDER

_DATA = (".py", ".md", ".txt", ".json", ".jsonl", ".csv", ".tsv")
# A top-level `task`, `group` or `tag` of a task file, on one line or as a list below it.
_KEY = re.compile(r"""^["']?(?:task|group|tag)["']?[ \t]*:[ \t]*(.*)\n((?:[ \t]*-.*\n)*)""", re.MULTILINE)
_NAME = re.compile(r"""[^\s"',\[\]]+""")


def require_names(names: Sequence[str], include: Sequence[Path] = ()) -> None:
    """Refuses names that are no task, group or tag.

    Reads the names out of the task files, which finds nearly all of them in half a second. Only a name that is not
    found so is looked up in lm-eval's own index.

    Args:
        names: The names.
        include: Folders of task files, besides Headwater's and lm-eval's own.

    Raises:
        ConfigError: There is no such task; the nearest one is named.
    """
    missing = set(names)
    for folder in (TASKS_FOLDER, *include, lm_eval_tasks()):
        missing -= names_in(folder) if missing else set()
    if not missing:
        return
    first = next(name for name in names if name in missing)
    if first.startswith(PREFIX):
        raise unknown_task(first, sorted(name for name in names_in(TASKS_FOLDER) if name.startswith(PREFIX)))
    from headwater.eval.harness.environment import prepare

    prepare(hub=False)
    from lm_eval.tasks import TaskManager

    known = TaskManager(include_path=list(include)).task_index
    for name in names:
        if name in missing and name not in known:
            raise unknown_task(name, known)


def names_in(folder: Path) -> set[str]:
    """Names of tasks, groups and tags that stand in a folder's task files, and a few words that are none of these.

    Args:
        folder: The folder, read with all below it.
    """
    found: set[str] = set()
    with storage_errors("read", folder):
        for root, _, files in os.walk(folder):
            for file in files:
                if not file.endswith(_DATA):
                    text = (Path(root) / file).read_text(encoding="utf-8", errors="replace") + "\n"
                    for line, below in _KEY.findall(text):
                        found.update(word for part in (line, below) for word in _NAME.findall(part))
    return found


def unknown_task(name: str, known: Collection[str]) -> ConfigError:
    """The error that names the nearest of the tasks there are."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return ConfigError(
        f"there is no task {name}",
        found=name,
        expected=f"an lm-eval task or group, for example {', '.join(near) or MINI_TASKS[0]}",
        hint=f"did you mean {near[0]}? (--include DIR names a folder of your own task files)"
        if near
        else "give the folder of your own task files with --include DIR",
    )
