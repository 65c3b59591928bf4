"""`headwater train`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from headwater.core.cli_options import json_option, recipe_options
from headwater.train.matrix.cli import matrix
from headwater.train.parity.cli import parity
from headwater.train.scratch import scratch


@click.group(short_help="Train a language model on the tokens of a run.")
def train() -> None:
    """Train a language model on the run's tokens; interrupted runs go on exactly where they stopped."""


@train.command()
@recipe_options
@click.option("--size", metavar="SIZE", help="Parameters of the model: 25m … 70b, or any number between. Sets the "
              "shape in place of the recipe's, as headwater plan does.")  # fmt: skip
@click.option("--fresh", is_flag=True, help="Start again from the first step; deletes this run's checkpoints.")
@click.option(
    "--on-change", type=click.Choice(["refuse", "restart"]), default="refuse", show_default=True,
    help="When the recipe, the tokens or the tokenizer changed since the run began.",
)  # fmt: skip
@click.option(
    "--profile", "profile_steps", type=click.IntRange(1, 1000), metavar="STEPS",
    help="Trace so many steps with torch's profiler, and show where a step's time goes.",
)  # fmt: skip
def run(
    recipe: str, run: Path, as_json: bool, overrides: tuple[str, ...], size: str | None, fresh: bool, on_change: str,
    profile_steps: int | None,
) -> None:  # fmt: skip
    """Train as the recipe's `train` section says. Run again after an interruption to go on.

    SIGTERM writes a checkpoint and exits with 75. Several processes: torchrun -m -- headwater.train run …
    """
    # Read once, when torch is imported. Threads that wait by spinning made a run on a busy machine thirty times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler's own log, on stderr

    from headwater.train.model import sized
    from headwater.train.runner import train as start
    from headwater.train.session import TERMINATED
    from headwater.train.summary import show

    overrides = (*sized(size), *overrides) if size is not None else overrides
    result = start(recipe, run, overrides, fresh=fresh, on_change=on_change, profile_steps=profile_steps or 0)
    show(result, run, as_json, profiled=profile_steps is not None)
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


@train.command("poison-proof")
@click.option(
    "--text", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
    help="A text of at least 200,000 characters to train on; default: the documentation in Python's help().",
)  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Keep the runs in this folder, which must be empty or new.")  # fmt: skip
@json_option
def poison_proof(text: Path | None, out: Path | None, as_json: bool) -> None:
    """Poison what some steps read, and train on it with the loss guard and without.

    Five trainings of a small model on a CPU, minutes in all: clean, a stretch of poisoned steps, and single ones.
    Exits with 1 unless the guarded trainings end within 1% of the clean one's validation loss.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

    from headwater.core.console import print_json, progress
    from headwater.train.poison.prove import TRAININGS, prove
    from headwater.train.poison.show import show

    with scratch(out) as folder, progress(TRAININGS, "poison-proof") as bar:
        proof = prove(folder, text=text, tick=lambda name: bar.advance(1, name))
    print_json(proof.as_json()) if as_json else show(proof)
    if not proof.good:
        sys.exit(1)


@train.command("resume-proof")
@click.option(
    "--trials", default=50, show_default=True, type=click.IntRange(min=1), help="How many trainings are killed."
)
@click.option(
    "--layouts", default="one,fsdp2,ddp2", show_default=True, metavar="NAME,…",
    help="Layouts to stop and resume at, by the names of `headwater train parity`.",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Decides when they are killed.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Keep the runs in this folder, which must be empty or new.")  # fmt: skip
@json_option
def resume_proof(trials: int, layouts: str, seed: int, out: Path | None, as_json: bool) -> None:
    """Kill short trainings at random moments, resume them, and compare them with ones that nothing interrupted.

    The samples, and the tokens that the processes were really fed, have to be the same at any layout; losses and the
    last checkpoint have to be the same to the bit at the same one. Exits with 1 when anything differs.
    """
    from headwater.core.console import print_json
    from headwater.train.proof.prove import prove
    from headwater.train.proof.show import show

    with scratch(out) as folder:
        proof = prove(folder, trials=trials, layouts=layouts.split(","), seed=seed)
    print_json(proof.as_json()) if as_json else show(proof)
    if not proof.good:
        sys.exit(1)


train.add_command(matrix)
train.add_command(parity)
