"""The proof as a table for people."""

from __future__ import annotations

import click

from headwater.core.console import done, table
from headwater.train.poison.prove import Proof


def show(proof: Proof) -> None:
    """Prints a row for each training, and what it all comes to."""
    clean = proof.outcomes[0].validation_loss
    headings = ["training", "validation loss", "over clean", "worst after the poison", "highest loss of a step",
                "skipped steps", "rollbacks", "samples left out", "poisoned documents", "named"]  # fmt: skip
    rows = [
        (
            one.name, f"{one.validation_loss:.4f}", f"{one.validation_loss / clean - 1:+.2%}",
            f"{one.worst_validation_loss:.3f}", f"{one.highest_loss:.3f}", one.skipped, one.rollbacks, one.left_out,
            one.poisoned, f"{one.found:,} of {one.poisoned:,}" if one.poisoned else "",
        )
        for one in proof.outcomes
    ]  # fmt: skip
    table(headings, rows)
    click.echo("named: poisoned documents that the guard's events name; they name others of the same samples too.")
    verdict = "end within 1% of the clean one" if proof.good else "do not end within 1% of the clean one"
    done("poison-proof", f"the guarded trainings {verdict}")
