"""The proof as a table for people."""

from __future__ import annotations

from collections.abc import Iterable

import click

from headwater.core.console import done, table
from headwater.train.proof.prove import Proof
from headwater.train.proof.trial import Trial


def show(proof: Proof) -> None:
    """Prints a row for each way that layouts followed each other, and what it all comes to."""
    groups: dict[str, list[Trial]] = {}
    for trial in proof.trials:
        groups.setdefault(" → ".join(trial.layouts), []).append(trial)
    rows = [_row(name, trials) for name, trials in sorted(groups.items())]
    table(
        ["layouts", "trials", "kills", "in a save", "samples", "fed", "losses", "last checkpoint", "largest Δ loss"],
        rows, title=f"Killed with SIGKILL and resumed, against {proof.steps} steps that nothing interrupted",
    )  # fmt: skip
    kills = [kill for trial in proof.trials for kill in trial.kills]
    saving, early = sum(kill.saving for kill in kills), sum(kill.whole == 0 for kill in kills)
    differing = sum(not trial.good for trial in proof.trials)
    done(
        "resume-proof",
        f"{len(proof.trials):,} trials · {len(kills):,} kills, {saving:,} of them while a checkpoint was written and "
        f"{early:,} before the first was whole · {differing:,} differences",
    )
    if len(proof.layouts) > 1:
        click.echo(f"Without any kill, losses on different layouts differ by at most {proof.across:.1e}.")


def _row(name: str, trials: list[Trial]) -> list[object]:
    kills = [kill for trial in trials for kill in trial.kills]
    return [
        name, len(trials), len(kills), sum(kill.saving for kill in kills),
        _all(trial.samples_equal for trial in trials), _all(trial.fed_equal for trial in trials),
        _all((trial.losses_identical for trial in trials), "bit-identical"),
        _all((trial.checkpoint_identical for trial in trials), "bit-identical"),
        f"{max(trial.largest_difference for trial in trials):.1e}",
    ]  # fmt: skip


def _all(values: Iterable[bool | None], word: str = "identical") -> str:
    listed = list(values)
    if None in listed:
        return "other layout"
    wrong = listed.count(False)
    return f"{wrong} differ" if wrong else word
