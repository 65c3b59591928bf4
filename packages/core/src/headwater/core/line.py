"""The line: every stage of a recipe, in order, each as a process of its own.

A stage that is up to date says so and ends; a stage that was killed goes on; a stage that fails stops the line with
its own message, and the same command goes on from there.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.core.config import dump_yaml, resolve_recipe
from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.core.storage import atomic_write, storage_errors
from headwater.core.verify.recipe import seal


@dataclass(frozen=True)
class Stage:
    """One stage: a `headwater` command, and the flags that the line gives it besides the recipe and the run."""

    name: str
    command: tuple[str, ...]
    flags: tuple[str, ...] = ()


STAGES = (
    Stage("items", ("eval", "items")),
    Stage("collect", ("data", "collect")),
    Stage("documents", ("data", "run")),
    Stage("tokenizer", ("data", "tokenizer")),
    Stage("tokens", ("data", "tokenize")),
    # Alone, training refuses to throw away a run whose recipe changed; the line redoes what changed.
    Stage("train", ("train", "run"), ("--on-change", "restart")),
    Stage("eval", ("eval", "run")),
    Stage("report", ("report",)),
)


@dataclass(frozen=True)
class StageResult:
    """How a stage ended: its exit code, its last line of output, and its wall time."""

    name: str
    exit_code: int
    summary: str
    seconds: float


def select(only: str | None, until: str | None) -> tuple[Stage, ...]:
    """The stages to run.

    Args:
        only: One stage's name, or none for all.
        until: The last stage to run, or none for all.

    Raises:
        ConfigError: There is no such stage.
    """
    names = [stage.name for stage in STAGES]
    for name in (only, until):
        if name is not None and name not in names:
            raise ConfigError(f"there is no stage {name}", expected=f"one of: {', '.join(names)}")
    if only is not None:
        return tuple(stage for stage in STAGES if stage.name == only)
    return STAGES[: names.index(until) + 1] if until is not None else STAGES


def write_recipe(recipe: str | Path, overrides: Sequence[str], layout: RunLayout) -> Path:
    """Validates a whole recipe and writes it, resolved, into the run folder.

    Raises:
        ConfigError: Any section is not valid; nothing was written.
    """
    resolved = dump_yaml(resolve_recipe(recipe, overrides))
    with storage_errors("create", layout.root):
        layout.root.mkdir(parents=True, exist_ok=True)
    atomic_write(layout.recipe, seal(resolved))
    return layout.recipe


def run_stage(stage: Stage, layout: RunLayout) -> StageResult:
    """Runs one stage as a process; its output passes through as it comes. SIGTERM reaches it too."""
    command = [sys.executable, "-m", "headwater.core.cli", *stage.command]
    started = time.monotonic()
    process = subprocess.Popen(
        [*command, "--recipe", str(layout.recipe), "--run", str(layout.root), *stage.flags],
        stdout=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip
    previous = signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number))
    last = ""
    try:
        assert process.stdout is not None
        for text in process.stdout:
            print(text, end="", flush=True)
            last = text.strip() or last
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
    return StageResult(stage.name, code, last.removeprefix(f"{stage.name}: "), time.monotonic() - started)
