"""The table of `headwater train guard-bench`, for people."""

from __future__ import annotations

from collections.abc import Mapping

import click

from headwater.core.console import table
from headwater.train.guard.bench import Share, Tally
from headwater.train.guard.curves import SPIKES


def show_bench(measured: Mapping[str, Mapping[str, Tally]]) -> None:
    """Prints one table a group of curves: false alarms, and recall with its delay for each spike."""
    headings = ["detector", "false alarms per 10,000", *(spike.name for spike in SPIKES)]
    for group, rows in measured.items():
        cells = [
            (
                name,
                _alarms(tally.false_alarms()),
                *(_found(tally.recall(spike), tally.delay(spike)) for spike in SPIKES),
            )
            for name, tally in rows.items()
        ]
        steps = next(iter(rows.values())).steps
        table(headings, cells, title=f"{group} curves, {steps:,} clean steps")
    click.echo("In brackets: Wilson's 95% interval. After the recall: median steps from the start of the spike on.")


def _alarms(share: Share) -> str:
    low, high = share.interval
    return f"{share.rate * 1e4:.2f} ({low * 1e4:.2f}–{high * 1e4:.2f})"


def _found(share: Share, delay: float | None) -> str:
    low, high = share.interval
    later = f" +{delay:.0f}" if delay is not None else ""
    return f"{share.rate:.3f} ({low:.2f}–{high:.2f}){later}"
