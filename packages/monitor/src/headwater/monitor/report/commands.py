"""The commands that make a run, stage by stage."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from headwater.core.layout import RunLayout
from headwater.core.line import STAGES
from headwater.core.manifest import is_artifact

from .view import Command


def stage_commands(run: RunLayout, recipe: str, overrides: Sequence[str] = ()) -> list[Command]:
    """Every stage in the order of the line, with whether its artifact is in the run folder.

    Args:
        run: The run folder, as the reader is to type it.
        recipe: The recipe's path or name, as the reader is to type it.
        overrides: What was changed of the recipe on the command line.
    """
    present = {
        "eval items": is_artifact(run.items),
        "data collect": _any(run.root / "raw"),
        "data run": is_artifact(run.documents),
        "data tokenizer": is_artifact(run.tokenizer),
        "data tokenize": _any(run.tokens_root),
        "train run": is_artifact(run.train),
        "eval run": is_artifact(run.eval),
    }
    source, changes = _recipe(run, recipe, overrides)
    options = f"--recipe {source} --run {shlex.quote(str(run.root))}{changes}"
    named = ((stage.name, " ".join(stage.command)) for stage in STAGES)
    return [
        Command(name, words, f"headwater {words} {options}", present[words])
        for name, words in named
        if words in present
    ]


def reproduce(run: RunLayout, recipe: str, overrides: Sequence[str] = ()) -> list[str]:
    """Commands that make the whole run again in another folder and compare it."""
    again = shlex.quote(str(run.root) + "-again")
    source, changes = _recipe(run, recipe, overrides)
    return [f"headwater line run {source} --run {again}{changes}", f"headwater verify {again}"]


def _recipe(run: RunLayout, recipe: str, overrides: Sequence[str]) -> tuple[str, str]:
    """The recipe and the overrides to type: the run's resolved recipe unless overrides go beyond it."""
    if run.recipe.is_file() and not overrides:
        return shlex.quote(str(run.recipe)), ""
    return shlex.quote(recipe), "".join(f" {shlex.quote(override)}" for override in overrides)


def _any(folder: Path) -> bool:
    return any(is_artifact(path) for path in folder.glob("*"))
