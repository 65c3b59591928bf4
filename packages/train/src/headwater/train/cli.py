"""`headwater train`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from headwater.core.cli_options import json_option, recipe_options


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


@train.command("guard-bench")
@click.option(
    "--curves", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True, metavar="FOLDER",
    help="Loss curves: CSV files with the columns step and loss.",
)  # fmt: skip
@click.option("--spikes", default=20, show_default=True, type=click.IntRange(1, 10_000), metavar="N",
              help="Spikes of each kind in each curve.")  # fmt: skip
@json_option
def guard_bench(curves: Path, spikes: int, as_json: bool) -> None:
    """Measure the loss guard's detectors: false alarms on curves as they are, recall of spikes put into them."""
    from headwater.core.console import print_json, progress
    from headwater.train.guard.bench import MADE_CURVES, measure
    from headwater.train.guard.curves import read_curves
    from headwater.train.guard.show import show_bench

    recorded = read_curves(curves)
    with progress(len(recorded) + MADE_CURVES, "watching curves") as bar:
        measured = measure(recorded, spikes, bar.advance)
    if as_json:
        print_json({group: {name: tally.as_json() for name, tally in rows.items()} for group, rows in measured.items()})
    else:
        show_bench(measured)
