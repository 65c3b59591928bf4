"""`headwater train matrix`."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.core.cli_options import json_option
from headwater.core.console import done, print_json, progress, table, warn
from headwater.core.errors import ConfigError
from headwater.train.scratch import scratch

if TYPE_CHECKING:
    from headwater.train.matrix.compare import Row


@click.command()
@click.option("--objectives", default="all", show_default=True, metavar="NAME[,NAME]…|all", help="By `kind`.")
@click.option("--optimizers", default="all", show_default=True, metavar="NAME[,NAME]…|all", help="By `name`.")
@click.option("--schedules", default="all", show_default=True, metavar="NAME[,NAME]…|all", help="By `name`.")
@click.option(
    "--steps", type=click.IntRange(10, 10_000), default=30, show_default=True, help="Optimizer steps of each."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Keep the runs in this folder, which must be empty or new.")  # fmt: skip
@json_option
def matrix(objectives: str, optimizers: str, schedules: str, steps: int, out: Path | None, as_json: bool) -> None:
    """Train every objective with every optimizer and schedule on a CPU, and hold them against plain references.

    Of each: first and last loss, and the loss of the first step as computed document by document, without packing, in
    plain Python and float64. The samples of an objective are checked token by token. Ends with 1 when any of it
    differs, or a loss does not fall. What the recipe refuses is listed, and is no failure.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from headwater.train.matrix.compare import compare
    from headwater.train.matrix.recipe import Cell, names_of

    wanted = {"objective": objectives, "optimizer": optimizers, "schedule": schedules}
    chosen = [_chosen(part, text, names_of(part)) for part, text in wanted.items()]
    cells = [Cell(one, two, three) for one in chosen[0] for two in chosen[1] for three in chosen[2]]
    with scratch(out) as folder, progress(len(cells), "matrix") as bar:
        rows = compare(cells, steps, folder, lambda name: bar.advance(1, name))
    print_json([row.as_json() for row in rows]) if as_json else _show(rows)
    if not all(row.good for row in rows):
        sys.exit(1)


def _chosen(part: str, text: str, known: Sequence[str]) -> list[str]:
    names = list(known) if text == "all" else text.split(",")
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"there is no {part} {unknown[0]}", expected=f"of: {', '.join(filter(None, known))}, or all")
    return names


def _show(rows: Sequence[Row]) -> None:
    table(
        ["objective", "optimizer", "schedule", "first loss", "last loss", "plain reference", "state"],
        [[row.objective, row.optimizer or "default", row.schedule or "default", *(
            "" if value is None else f"{value:.6f}" for value in (row.first, row.last, row.plain)
        ), row.state] for row in rows],
    )  # fmt: skip
    for row in rows:
        if row.reason:
            warn(f"{row.objective} {row.optimizer} {row.schedule}: {row.reason}")
    states = Counter(row.state for row in rows)
    done("matrix", " · ".join(f"{count} {state}" for state, count in states.items()))
