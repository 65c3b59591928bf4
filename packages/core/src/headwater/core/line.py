"""The line: every stage of a recipe, in order, each as a process of its own.

A stage that is up to date says so and ends; a stage that was killed goes on; a stage that fails stops the line with
its own message, and the same command goes on from there.
"""

from __future__ import annotations

import difflib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from headwater.core.buckets import bucket_names
from headwater.core.children import end_with_parent
from headwater.core.config import dump_yaml, resolve_recipe
from headwater.core.console import warn
from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact
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
        ConfigError: There is no such stage, or both are given.
    """
    if only is not None and until is not None:
        raise ConfigError("--only and --until contradict each other", expected="one of them")
    names = [stage.name for stage in STAGES]
    for name in (only, until):
        if name is not None and name not in names:
            raise ConfigError(f"there is no stage {name}", expected=f"one of: {', '.join(names)}")
    if only is not None:
        return tuple(stage for stage in STAGES if stage.name == only)
    return STAGES[: names.index(until) + 1] if until is not None else STAGES


def resolve(recipe: str | Path, overrides: Sequence[str], layout: RunLayout) -> dict[str, Any]:
    """A whole recipe, validated, with every default filled in.

    Raises:
        ConfigError: Any section is not valid, or sections do not agree on the sources; nothing was written.
    """
    resolved = resolve_recipe(recipe, overrides)
    check_sources(resolved, layout)
    return resolved


def write_recipe(resolved: dict[str, Any], layout: RunLayout) -> Path:
    """Writes a resolved recipe into the run folder.

    Raises:
        StorageError: The disk refused.
    """
    with storage_errors("create", layout.root):
        layout.root.mkdir(parents=True, exist_ok=True)
    atomic_write(layout.recipe, seal(dump_yaml(resolved)))
    return layout.recipe


def check_sources(resolved: dict[str, Any], layout: RunLayout) -> None:
    """Checks that each section names only sources that the section before it has; warns of those it leaves out.

    Args:
        resolved: A resolved recipe.
        layout: The run folder. What lies in it already (pages crawled by hand, say) counts as a source too.

    Raises:
        ConfigError: A source of documents that nothing collects, or of the mixture or the tokenizer's sample that
            has no documents.
    """
    collected, cleaned = _names(resolved, "sources"), _names(resolved, "documents", "sources")
    (mix, mixed), sampled = _mixed(resolved), _names(resolved, "tokenizer", "sample_bytes")
    cut = _tokenized(resolved, cleaned)
    steps = (
        ("documents.sources", cleaned, "sources", collected, layout.raw),
        (mix, mixed, "documents.sources", cut, layout.tokens),
    )
    for where, names, before, known, folder in (
        *steps, ("tokenizer.sample_bytes", sampled, "documents.sources", cleaned, layout.tokens)
    ):  # fmt: skip
        for name in names:
            if known and name not in known and not is_artifact(folder(name)):
                near = difflib.get_close_matches(name, known, n=1)
                raise ConfigError(
                    f"{where} names {name}, which is not in {before}", expected=f"one of: {', '.join(known)}",
                    hint=f"did you mean {near[0]}?" if near else f"add it to {before}, or take it out of {where}",
                )  # fmt: skip
    for where, names, before, known, _ in steps:
        for name in known:
            if names and name not in names:
                warn(f"{name} of {before} is not in {where}: it is not used from there on")


def _names(resolved: dict[str, Any], *path: str) -> list[str]:
    """The keys of a mapping inside a resolved recipe; none if it is not there."""
    here: Any = resolved
    for part in path:
        here = here.get(part) or {}
    return list(cast("dict[str, Any]", here)) if isinstance(here, dict) else []  # sample_bytes may be a number


def _tokenized(resolved: dict[str, Any], sources: list[str]) -> list[str]:
    """The token data sets of the sources: themselves, or their buckets."""
    tokens = cast("dict[str, Any]", resolved.get("tokens") or {})
    buckets = cast("dict[str, Any]", tokens.get("buckets") or {})
    return [
        name
        for source in sources
        for name in (bucket_names(source, buckets[source]["count"]) if source in buckets else [source])
    ]


def _mixed(resolved: dict[str, Any]) -> tuple[str, list[str]]:
    """Where the mixture names its sources, and which; none when a temperature takes them all."""
    mixture = cast("dict[str, Any]", resolved.get("mixture") or {})
    stages = cast("list[dict[str, Any]]", mixture.get("stages") or [])
    if not stages:
        return "mixture.weights", _names(resolved, "mixture", "weights")
    named = [_names(stage, "weights") for stage in stages]
    return "mixture.stages", list(dict.fromkeys(name for names in named for name in names)) if all(named) else []


def run_stage(stage: Stage, layout: RunLayout) -> StageResult:
    """Runs one stage as a process; its output passes through as it comes. It never outlives the line (on Linux)."""
    command = [sys.executable, "-m", "headwater.core.cli", *stage.command]
    started = time.monotonic()
    process = subprocess.Popen(
        [*command, "--recipe", str(layout.recipe), "--run", str(layout.root), *stage.flags],
        stdout=subprocess.PIPE, text=True, encoding="utf-8", preexec_fn=end_with_parent(),
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
