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
        "items": is_artifact(run.items),
        "raw": _any(run.root / "raw"),
        "documents": is_artifact(run.documents),
        "tokenizer": is_artifact(run.tokenizer),
        "tokens": _any(run.tokens_root),
        "train": is_artifact(run.train),
        "eval": is_artifact(run.eval),
    }
    options = f"--recipe {shlex.quote(recipe)} --run {shlex.quote(str(run.root))}"
    return [
        Command(stage.name, f"headwater {' '.join(stage.command)} {options}", present[stage.name])
        for stage in STAGES
        if stage.name in present
    ]


def reproduce(run: RunLayout, recipe: str) -> list[str]:
    """Commands that make the whole run again in another folder and compare it."""
    again = shlex.quote(str(run.root) + "-again")
    return [f"headwater line run {shlex.quote(recipe)} --run {again}", f"headwater verify {again}"]


def _any(folder: Path) -> bool:
    return any(is_artifact(path) for path in folder.glob("*"))
