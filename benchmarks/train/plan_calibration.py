"""The planner against published trainings: fits its few numbers on one half of the table, reports errors on the other.

python benchmarks/train/plan_calibration.py            errors of the numbers as they are, on both halves
python benchmarks/train/plan_calibration.py --fit      fits them on the calibration half alone, and prints them
python benchmarks/train/plan_calibration.py --rows     every row, as a table in Markdown
"""

from __future__ import annotations

import argparse
import math
from collections import Counter, defaultdict
from dataclasses import fields, replace
from typing import Any

from headwater.train.plan.calibration import Compared, compare, compare_all, errors_of
from headwater.train.plan.efficiency import Efficiency
from headwater.train.plan.runs import published_runs

START = Efficiency(
    product={"ampere": 0.80, "hopper": 0.68, "blackwell": 0.70, "cpu": 0.5},
    product_fp8={"hopper": 0.55, "blackwell": 0.55}, power_limited=0.85,
    attention={"ampere": 0.55, "hopper": 0.45, "blackwell": 0.45, "cpu": 0.25}, flash1=0.6, memory=0.8,
    passes={"eager": 1.0, "compiled": 0.5, "fused": 0.5}, score_passes=6.0,
    launch_seconds={"eager": 8e-6, "compiled": 4e-6, "fused": 4e-6}, link=0.7, network=0.7, hop_seconds=8e-6,
    contention=0.25, tp_hidden=0.6, straggling=0.005, context=0.8, experts=0.6, expert_hidden=0.5,
)  # fmt: skip
"""What was guessed before any row was looked at."""

SPREAD = 0.5
"""How far, as a share, a number may easily lie from where it began: rows that say nothing about it leave it there."""

HIGHEST = {"link": 0.85, "network": 0.9, "memory": 0.9, "tp_hidden": 0.9, "expert_hidden": 0.9, "context": 1.0,
           "flash1": 1.0, "experts": 1.0, "power_limited": 1.0}  # fmt: skip
"""What a number cannot be above: collectives reach at most so much of a link, and factors are no gains."""

FIXED = {("product", "cpu"), ("attention", "cpu")}


def names(start: Efficiency) -> list[tuple[str, str | None]]:
    """Every number: its field, and its key where the field is a mapping."""
    found: list[tuple[str, str | None]] = []
    for one in fields(start):
        value = getattr(start, one.name)
        found += [(one.name, key) for key in value] if isinstance(value, dict) else [(one.name, None)]
    return [name for name in found if name not in FIXED]


def value_of(start: Efficiency, name: tuple[str, str | None]) -> float:
    """One number."""
    value: Any = getattr(start, name[0])
    return value[name[1]] if name[1] else value


def changed(start: Efficiency, keys: list[tuple[str, str | None]], values: list[float]) -> Efficiency:
    """All numbers, with some of them changed."""
    new: dict[str, Any] = {}
    for (name, key), value in zip(keys, values, strict=True):
        if key is None:
            new[name] = value
        else:
            new[name] = {**new.get(name, getattr(start, name)), key: value}
    return replace(start, **new)


def fit(start: Efficiency) -> Efficiency:
    """Least squares of the logarithms of predicted over measured speeds, each source with the weight of the square root
    of its rows, large errors counted linearly."""
    from scipy.optimize import least_squares

    rows = [run for run in published_runs() if run.speed_modelled and run.calibrates]
    often = Counter(run.source for run in rows)
    keys = names(start)
    first = [math.log(value_of(start, key)) for key in keys]

    def residuals(logs: Any) -> list[float]:
        trial = changed(start, keys, [math.exp(x) for x in logs])
        found = []
        for run in rows:
            compared = compare(run, trial)
            size = math.log(1 + (compared.error or 0.0)) / 0.05 / often[run.source] ** 0.25
            found.append(math.copysign(math.sqrt(2 * (math.sqrt(1 + size**2) - 1)), size))
        return found + [(x - x0) / SPREAD for x, x0 in zip(logs, first, strict=True)]

    upper = [math.log(HIGHEST[key[0]]) if key[0] in HIGHEST else math.inf for key in keys]
    solved = least_squares(residuals, first, bounds=([-math.inf] * len(keys), upper), x_scale=0.1)
    return changed(start, keys, [math.exp(x) for x in solved.x])


def report(rows: list[Compared]) -> None:
    """Errors of both halves, and of each source."""
    print("| rows | half | number | median | 90th percentile | median with sign |\n|---|---|---|---|---|---|")
    for half in (True, False):
        name = "calibration" if half else "held back"
        mine = [row for row in rows if row.run.calibrates is half]
        show("speed, all", name, [row.error for row in mine])
        show("memory, all", name, [row.memory_error for row in mine])
        by_source: dict[str, list[Compared]] = defaultdict(list)
        for row in mine:
            by_source[row.run.source].append(row)
        for source, some in by_source.items():
            show(f"speed, {source}", name, [row.error for row in some])
            show(f"memory, {source}", name, [row.memory_error for row in some])


def show(what: str, half: str, values: list[float | None]) -> None:
    """One line of the table, where anything was measured."""
    if all(value is None for value in values):
        return
    errors = errors_of(values)
    print(f"| {what} | {half} | {errors.rows} | {errors.median:.1%} | {errors.ninetieth:.1%} | {errors.bias:+.1%} |")


def list_rows(rows: list[Compared]) -> None:
    """Every row in Markdown."""
    print("| run | half | measured | predicted | error | memory, GiB | predicted | error |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        speed, memory = ("", "", ""), ("", "", "")
        if row.measured is not None and row.error is not None:
            speed = (f"{row.measured:,.0f}", f"{row.predicted:,.0f}", f"{row.error:+.0%}")
        if row.memory_measured is not None and row.memory_error is not None:
            memory = (f"{row.memory_measured:g}", f"{row.memory_predicted:.1f}", f"{row.memory_error:+.0%}")
        half = "calibration" if row.run.calibrates else "held back"
        print(f"| {row.run.run} | {half} | {' | '.join(speed + memory)} |")


def main() -> None:
    """Runs what the options ask for."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--fit", action="store_true")
    options.add_argument("--rows", action="store_true")
    given = options.parse_args()
    if given.fit:
        fitted = fit(START)
        for key in names(fitted):
            print(f"{'.'.join(part for part in key if part):28s} {value_of(fitted, key):.3g}")
        rows = [row for row in compare_all(fitted) if row.run.calibrates]
        errors = errors_of(row.error for row in rows)
        print(f"calibration half: median {errors.median:.1%}, 90th percentile {errors.ninetieth:.1%}")
        return
    rows = compare_all()
    list_rows(rows) if given.rows else report(rows)


if __name__ == "__main__":
    main()
