"""How the parameters of the divergence detector were chosen. No recorded curve takes part.

Ranks do not depend on the distribution of the losses, so the false alarms on a level loss can be simulated once for
all runs: on noise of any kind that has no trend. A falling loss alarms less. The rule: of each allowance k, the
smallest whole threshold h with at most 0.5 false alarms in 10,000 steps of that; of these the one whose worst recall on
made curves is best.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click
import numpy as np

from headwater.core.console import progress, table
from headwater.train.guard.bench import Slow, Tally, watch
from headwater.train.guard.curves import SPIKES, made_curve

ALLOWANCES = (0.3, 0.4, 0.5, 0.6)
THRESHOLDS = (7, 8, 9, 10, 11, 12)
MADE, LIMIT = 32, 0.5
SLOW = [spike for spike in SPIKES if spike.shape != "once"]


@click.command()
@click.option("--steps", default=1_000_000, show_default=True, help="Of level noise.")
@click.option("--spikes", default=8, show_default=True, help="Of each kind in each made curve.")
@click.option("--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures to a file.")
def main(steps: int, spikes: int, out: Path | None) -> None:
    """Prints the grid, and what the rule takes."""
    level = np.random.default_rng(0).standard_normal(steps)
    made = {f"made_{seed}": made_curve(seed) for seed in range(MADE)}
    rows = []
    with progress(len(ALLOWANCES) * len(THRESHOLDS), "grid") as bar:
        for allowance in ALLOWANCES:
            for threshold in THRESHOLDS:
                make = partial(Slow, allowance=allowance, threshold=threshold)
                # Without the smallest rise that counts, which only makes alarms rarer.
                alarms = watch(partial(make, rise=0.0), "level", level, 0).false_alarms().rate * 1e4
                tally = Tally()
                for name, curve in made.items():
                    tally.add(watch(make, name, curve, spikes))
                worst = min(tally.recall(spike).rate for spike in SLOW)
                rows.append({"k": allowance, "h": threshold, "alarms": alarms, "recall": worst})
                bar.advance()
    allowed = [row for row in rows if row["alarms"] <= LIMIT]
    least = [min((row for row in allowed if row["k"] == k), key=lambda row: row["h"], default=None) for k in ALLOWANCES]
    taken = max((row for row in least if row), key=lambda row: row["recall"])
    table(
        ["k", "h", "false alarms per 10,000 level steps", "worst recall, made curves"],
        [tuple(r.values()) for r in rows],
    )
    click.echo(f"taken: k = {taken['k']}, h = {taken['h']}")
    if out:
        out.write_text(json.dumps({"rows": rows, "taken": taken}))


if __name__ == "__main__":
    main()
