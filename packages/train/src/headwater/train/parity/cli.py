"""`headwater train parity`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.core.cli_options import json_option
from headwater.core.console import done, print_json, table, warn
from headwater.core.errors import ConfigError

if TYPE_CHECKING:
    from headwater.train.parity.compare import Row
    from headwater.train.parity.layouts import Layout

FAMILIES = ("llama3", "qwen3", "deepseek_v3")


@click.command()
@click.option(
    "--layouts", "wanted", default="fsdp2,ddp2,tp2,cp2,pp2", show_default=True, metavar="NAME[,NAME]…|all|list",
    help="Layouts to compare; `list` prints their names and what they are.",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Optimizer steps of each.")
@click.option(
    "--family", type=click.Choice(FAMILIES), default="llama3", show_default=True,
    help="Of the built-in model; expert layouts take deepseek_v3 in any case.",
)  # fmt: skip
@click.option("--recipe", metavar="FILE|NAME", help="One's own recipe, with --run; default: a small built-in model.")
@click.option(
    "--run", "run", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
    help="A run folder with the recipe's tokenizer and tokens. Nothing is written there.",
)  # fmt: skip
@json_option
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def parity(
    wanted: str, steps: int, family: str, recipe: str | None, run: Path | None, as_json: bool,
    overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Train every layout against one process: same seed, samples and initial weights, in float32.

    Starts the processes itself, on this machine. Ends with 1 when a layout's loss differs by more than 1e-5 at any
    step, or when one fails.
    """
    from headwater.train.parity.compare import compare
    from headwater.train.parity.layouts import LAYOUTS

    if wanted == "list":
        columns, rows = ["layout", "processes", "train.parallel"], [_listed(layout) for layout in LAYOUTS.values()]
        print_json([dict(zip(columns, row, strict=True)) for row in rows]) if as_json else table(columns, rows)
        return
    if any(one.startswith("train.steps=") for one in overrides):
        raise ConfigError("the steps of a comparison are an option of their own", found="train.steps",
                          expected="--steps NUMBER")  # fmt: skip
    if (recipe is None) != (run is None):
        raise ConfigError("--recipe and --run belong together", hint="give both, or neither for the built-in model")
    own = (recipe, run) if recipe is not None and run is not None else None
    rows = compare(_chosen(wanted, LAYOUTS), steps, family=family, own=own, overrides=overrides)
    _show(rows, as_json)
    if not all(row.good for row in rows):
        sys.exit(1)


def _chosen(wanted: str, known: dict[str, Layout]) -> list[Layout]:
    names = list(known) if wanted == "all" else [name.strip() for name in wanted.split(",") if name.strip()]
    if not names:
        raise ConfigError("--layouts names no layout", expected="NAME[,NAME]…, all or list")
    for name in names:
        if name not in known:
            raise ConfigError(
                f"there is no layout {name}", expected=f"all, or some of: {', '.join(known)}",
                hint="headwater train parity --layouts list",
            )  # fmt: skip
    return [known[name] for name in dict.fromkeys(names)]


def _listed(layout: Layout) -> list[object]:
    return [layout.name, layout.processes, ", ".join(f"{key}: {value}" for key, value in layout.parallel.items())]


def _show(rows: Sequence[Row], as_json: bool) -> None:
    from headwater.train.parity.compare import TOLERANCE

    if as_json:
        print_json({"tolerance": TOLERANCE, "rows": [row.dump() for row in rows]})
        return
    table(
        ["layout", "processes", "result", "loss difference", "of the validation", "of the gradient norm", "tokens/s"],
        [
            [row.layout, row.processes, row.state, _small(row.loss_difference), _small(row.validation_difference),
             _small(row.grad_norm_difference), None if row.tokens_per_second is None else round(row.tokens_per_second)]
            for row in rows
        ],
    )  # fmt: skip
    for row in rows:
        if row.reason:
            warn(f"{row.layout} {row.state}: {row.reason}")
    compared = [row for row in rows if row.state in ("same", "different")]
    same = sum(row.state == "same" for row in rows)
    done("parity", f"{same} of {len(compared)} layouts compared have one process's losses to {TOLERANCE:.0e}")


def _small(value: float | None) -> str | None:
    return None if value is None else f"{value:.1e}"
