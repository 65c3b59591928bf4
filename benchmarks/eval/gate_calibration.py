"""The gate's promises against simulations: how often it calls models worse that are alike, and finds a loss it can see.

    python benchmarks/eval/gate_calibration.py [--trials 2000] [--suites NAME;…] [--level 0.05] [--json FILE]

Each trial draws the answers of two models to the same items and asks `headwater.eval.gate.judge`. `alike`: the share of
trials with a NO-GO for any task, which is to be at most the level. `found`: one task has lost what the gate calls its
detectable effect, and the share of trials in which that task is a NO-GO, which is to be about 0.8 where there is one
task, and somewhat more where Holm's correction gives it more than an equal share of the level. Of bits per byte, that
effect depends on the values drawn: it is the mean over 200 draws.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from headwater.eval.compare import compare, detectable_share
from headwater.eval.gate import Pair, judge

# Name → items and the share of them that two alike models answer differently, a row a task; or, for bits per byte, how
# the differences are distributed around a mean of zero: as without any skewness, with few large losses and many small
# gains, or with many small losses and few large gains, which looks worse than it is.
SUITES: dict[str, list[tuple[int, float | str]]] = {
    "humaneval": [(164, 0.15)],
    "gsm8k": [(1319, 0.10)],
    "mmlu": [(14042, 0.10)],
    "ci": [(684, 0.12), (60, 0.2), (40, 0.2)],
    "ten tasks": [(500, 0.15)] * 10,
    "ten tasks of bits per byte": [(500, "large losses")] * 10,
    "ten of bits per byte, gains": [(500, "large gains")] * 10,
    **{f"{kind}, {items}": [(items, kind)] for kind in ("even", "large losses", "large gains")
       for items in (3, 6, 12, 50, 500)},
}  # fmt: skip


def answers(items: int, kind: float | str, loss: float, rng: np.random.Generator) -> tuple[list[float], list[float]]:
    """Right and wrong answers of both, or bits per byte."""
    if isinstance(kind, str):
        base = rng.gamma(4.0, 0.25, items)
        skewed = rng.exponential(0.1, items) - 0.1
        drawn = {"large losses": skewed, "large gains": -skewed}.get(kind, rng.normal(0, 0.1, items))
        return base.tolist(), (base + loss + drawn).tolist()
    which = rng.choice(3, items, p=[(kind - loss) / 2, (kind + loss) / 2, 1 - kind])
    base = np.where(which == 2, rng.random(items) < 0.5, which == 1).astype(float)
    return base.tolist(), np.where(which == 2, base, which == 0).astype(float).tolist()


def detectable(items: int, kind: float | str, level: float) -> float | None:
    """The loss that the gate says it finds; none where there are too few items."""
    if not isinstance(kind, str):
        return detectable_share(items, kind, level)
    rng = np.random.default_rng(1)
    found = [compare(*answers(items, kind, 0.0, rng), level=level, higher_is_better=False) for _ in range(200)]
    losses = [each.detectable for each in found if each.detectable is not None]
    return float(np.mean(losses)) if losses else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--suites", default=";".join(SUITES), help="names with semicolons")
    parser.add_argument("--level", type=float, default=0.05)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    for suite, tasks in ((name, SUITES[name]) for name in asked.suites.split(";")):
        rng = np.random.default_rng(0)
        trials, false, found = asked.trials, 0, 0
        items, kind = tasks[0]
        better = not isinstance(kind, str)
        loss = detectable(items, kind, asked.level / len(tasks))
        for _ in range(trials):
            drawn = [answers(*task, 0.0, rng) for task in tasks]
            units = judge([Pair(f"t{k}", "m", a, b, better) for k, (a, b) in enumerate(drawn)], asked.level)
            false += any(unit.verdict == "NO-GO" for unit in units)
            if loss is not None:
                drawn[0] = answers(items, kind, loss, rng)
                units = judge([Pair(f"t{k}", "m", a, b, better) for k, (a, b) in enumerate(drawn)], asked.level)
                found += next(unit.verdict == "NO-GO" for unit in units if unit.task == "t0")
        row = {"suite": suite, "tasks": len(tasks), "items": items, "trials": trials, "alike": false / trials,
               "loss": loss, "found": found / trials if loss is not None else None}  # fmt: skip
        rows.append(row)
        size = "" if loss is None else f"{loss:.2%}" if better else f"{loss:.4f} bits per byte"
        told = f"a loss of {size} found {row['found']:.3f}" if loss is not None else ""
        print(f"{suite:28} {len(tasks):3} tasks  {items:6,} items  alike {row['alike']:.4f}  {told}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
