"""`headwater train`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from headwater.core.cli_options import recipe_options


@click.group(short_help="Train a language model on the tokens of a run.")
def train() -> None:
    """Train a language model on the run's tokens; interrupted runs go on exactly where they stopped."""


@train.command()
@recipe_options
@click.option("--fresh", is_flag=True, help="Start again from the first step; deletes this run's checkpoints.")
@click.option(
    "--on-change", type=click.Choice(["refuse", "restart"]), default="refuse", show_default=True,
    help="When the recipe, the tokens or the tokenizer changed since the run began.",
)  # fmt: skip
def run(recipe: str, run: Path, as_json: bool, overrides: tuple[str, ...], fresh: bool, on_change: str) -> None:
    """Train as the recipe's `train` section says. Run again after an interruption to go on.

    SIGTERM writes a checkpoint and exits with 75. Several processes: torchrun -m -- headwater.train run …
    """
    # Read once, when torch is imported. Threads that wait by spinning made a run on a busy machine thirty times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

    from headwater.train.runner import TERMINATED
    from headwater.train.runner import train as start
    from headwater.train.summary import show

    result = start(recipe, run, overrides, fresh=fresh, on_change=on_change)
    show(result, run, as_json)
    if result.state == "terminated":
        sys.exit(TERMINATED)
