"""Where lm-eval's own 14,000 task files are, found once for each version of it: reading them all takes ten seconds.

The list lies in the user's cache folder (`XDG_CACHE_HOME`, by default `~/.cache`) and is made again when it is missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lm_eval.tasks
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Entry, Kind, TaskIndex
from lm_eval.tasks._yaml_loader import load_yaml

from headwater.core.errors import StorageError
from headwater.core.storage import atomic_write

_ROOT = Path(lm_eval.tasks.__file__).parent


class Known:
    """lm-eval's own tasks, groups and tags by name."""

    def __init__(self) -> None:
        self._found: dict[str, list[Any]] = self._read() or self._make()

    @property
    def names(self) -> list[str]:
        """All of them, in order."""
        return sorted(self._found)

    def entries(self, names: Iterable[str]) -> dict[str, Entry]:
        """What lm-eval needs to load some of them: their own entries and those of all that they contain."""
        entries: dict[str, Entry] = {}
        wanted = list(names)
        while wanted:
            name = wanted.pop()
            if name in entries or name not in self._found:
                continue
            path, members = self._found[name]
            if path is None:
                entries[name] = Entry(name=name, kind=Kind.TAG, yaml_path=None, tags=set(members))
                wanted += members
                continue
            made: dict[str, Entry] = {}
            TaskIndex.process_cfg(load_yaml(_ROOT / path, resolve_func=False), _ROOT / path, made)
            entries[name] = made[name]
            wanted += _contained((made[name].cfg or {}).get("task")) if made[name].kind is Kind.GROUP else []
        return entries

    @staticmethod
    def _read() -> dict[str, list[Any]] | None:
        try:
            return json.loads(_path().read_bytes())
        except (OSError, ValueError, RuntimeError):  # none yet, damaged, no home folder
            return None

    @staticmethod
    def _make() -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for name, entry in TaskManager(include_defaults=True).task_index.items():
            path = None if entry.yaml_path is None else entry.yaml_path.relative_to(_ROOT).as_posix()
            found[name] = [path, sorted(entry.tags) if entry.kind is Kind.TAG else []]
        try:
            _path().parent.mkdir(parents=True, exist_ok=True)
            atomic_write(_path(), json.dumps(found))
        except (OSError, RuntimeError, StorageError):
            pass  # nowhere to keep it: it is made again next time
        return found


def _path() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    # Another place of installation may be another version under the same number: a checkout that is worked on.
    stamp = int(_ROOT.stat().st_mtime)
    return cache / "headwater" / f"lm-eval-{version('lm-eval')}-{stamp}.json"


def _contained(members: Any) -> Iterator[str]:
    """The names in a group's list, which may hold groups of its own."""
    for member in members if isinstance(members, list) else []:
        if isinstance(member, str):
            yield member
        elif isinstance(member, dict):
            for key in ("task", "group"):
                inner = member.get(key)
                if isinstance(inner, str):
                    yield inner
                else:
                    yield from _contained(inner)
