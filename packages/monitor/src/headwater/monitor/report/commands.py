"""The commands that make a run, stage by stage."""

from __future__ import annotations

import shlex
from pathlib import Path

from headwater.core.layout import RunLayout
from headwater.core.line import STAGES
from headwater.core.manifest import is_artifact

from .view import Command


def stage_commands(run: RunLayout, recipe: str) -> list[Command]:
    """Every stage in the order of the line, with whether its artifact is in the run folder.

    Args:
        run: The run folder, as the reader is to type it.
        recipe: The recipe's path or name, as the reader is to type it.
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
    options = f"--recipe {shlex.quote(recipe)} --run {shlex.quote(str(run.root))}"
    named = ((stage.name, " ".join(stage.command)) for stage in STAGES)
    return [
        Command(name, words, f"headwater {words} {options}", present[words])
        for name, words in named
        if words in present
    ]


def reproduce(run: RunLayout, recipe: str) -> list[str]:
    """Commands that make the whole run again in another folder and compare it."""
    again = shlex.quote(str(run.root) + "-again")
    return [f"headwater line run {shlex.quote(recipe)} --run {again}", f"headwater verify {again}"]


def _any(folder: Path) -> bool:
    return any(is_artifact(path) for path in folder.glob("*"))
