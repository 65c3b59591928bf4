"""How the parameters of the divergence detector were chosen: a grid on made curves, and on recorded ones to tune on.

The rule: of each allowance k, the smallest whole threshold h with at most 0.1 false alarms in 10,000 steps on both sets
of curves, a fifth of what is aimed at; of these the one whose worst recall on the made curves is best. The held-out
curves take no part.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click

from headwater.core.console import progress, table
from headwater.train.guard.bench import HELD_OUT, Slow, Tally, watch
from headwater.train.guard.curves import SPIKES, made_curve, read_curves

ALLOWANCES = (0.3, 0.4, 0.5)
THRESHOLDS = (6, 7, 8, 9, 10)
MADE, LIMIT = 64, 0.1
SLOW = [spike for spike in SPIKES if spike.shape != "once"]


@click.command()
@click.option("--curves", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--spikes", default=8, show_default=True, help="Of each kind in each made curve.")
@click.option("--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures to a file.")
def main(curves: Path, spikes: int, out: Path | None) -> None:
    """Prints the grid, and what the rule takes."""
    recorded = {name: curve for name, curve in read_curves(curves).items() if name not in HELD_OUT}
    made = {f"made_{seed}": made_curve(seed) for seed in range(MADE)}
    rows = []
    with progress(len(ALLOWANCES) * len(THRESHOLDS), "grid") as bar:
        for allowance in ALLOWANCES:
            for threshold in THRESHOLDS:
                make = partial(Slow, allowance=allowance, threshold=threshold)
                tallies = [Tally(), Tally()]
                for tally, group, count in zip(tallies, (recorded, made), (0, spikes), strict=True):
                    for name, curve in group.items():
                        tally.add(watch(make, name, curve, count))
                alarms = [tally.false_alarms().rate * 1e4 for tally in tallies]
                worst = min(tallies[1].recall(spike).rate for spike in SLOW)
                rows.append({"k": allowance, "h": threshold, "recorded": alarms[0], "made": alarms[1], "recall": worst})
                bar.advance()
    allowed = [row for row in rows if max(row["recorded"], row["made"]) <= LIMIT]
    smallest = [
        min((row for row in allowed if row["k"] == k), key=lambda row: row["h"], default=None) for k in ALLOWANCES
    ]
    taken = max((row for row in smallest if row), key=lambda row: row["recall"])
    headings = ["k", "h", "false alarms, recorded", "false alarms, made", "worst recall, made"]
    table(headings, [tuple(row.values()) for row in rows])
    click.echo(f"taken: k = {taken['k']}, h = {taken['h']}")
    if out:
        out.write_text(json.dumps({"rows": rows, "taken": taken}))


if __name__ == "__main__":
    main()
