"""The gate's promises against simulations: how often it calls models worse that are alike, and finds a loss it can see.

    python benchmarks/eval/gate_calibration.py [--trials 2000] [--suites NAME,…] [--level 0.05] [--json FILE]

Each trial draws the answers of two models to the same items and asks `headwater.eval.gate.judge`. `alike`: the share of
trials with a NO-GO for any task, which is to be at most the level. `found`: one task has lost what the gate calls its
detectable effect, and the share of trials in which that task is a NO-GO, which is to be about 0.8 where there is one
task, and somewhat more where Holm's correction gives it more than an equal share of the level.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from headwater.eval.compare import detectable_share
from headwater.eval.gate import Pair, judge

# Name → items and the share of them that two alike models answer differently, a row a task.
SUITES = {
    "humaneval": [(164, 0.15)],
    "gsm8k": [(1319, 0.10)],
    "mmlu": [(14042, 0.10)],
    "ci": [(684, 0.12), (60, 0.2), (40, 0.2)],
    "ten tasks": [(500, 0.15)] * 10,
    "ten tasks of bits per byte": [(500, 0.0)] * 10,
}


def answers(items: int, differing: float, loss: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong answers of both; or, where none differ, values with a skewed difference."""
    if not differing:
        base = rng.gamma(4.0, 0.25, items)
        return base, base + rng.exponential(0.1, items) - 0.1
    kind = rng.choice(3, items, p=[(differing - loss) / 2, (differing + loss) / 2, 1 - differing])
    base = np.where(kind == 2, rng.random(items) < 0.5, kind == 1).astype(float)
    return base, np.where(kind == 2, base, kind == 0).astype(float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--suites", default=",".join(SUITES), help="names with commas; the bootstrap takes minutes")
    parser.add_argument("--level", type=float, default=0.05)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    for suite, tasks in ((name, SUITES[name]) for name in asked.suites.split(",")):
        rng = np.random.default_rng(0)
        trials, false, found = asked.trials, 0, 0
        items, differing = tasks[0]
        loss = detectable_share(items, differing, asked.level / len(tasks)) if differing else None
        for _ in range(trials):
            drawn = [answers(*task, 0.0, rng) for task in tasks]
            better = bool(differing)
            units = judge([Pair(f"t{k}", "m", a, b, better) for k, (a, b) in enumerate(drawn)], asked.level)
            false += any(unit.verdict == "NO-GO" for unit in units)
            if loss is not None:
                drawn[0] = answers(items, differing, loss, rng)
                units = judge([Pair(f"t{k}", "m", a, b) for k, (a, b) in enumerate(drawn)], asked.level)
                found += next(unit.verdict == "NO-GO" for unit in units if unit.task == "t0")
        row = {"suite": suite, "tasks": len(tasks), "items": items, "trials": trials, "alike": false / trials,
               "loss": loss, "found": found / trials if loss is not None else None}  # fmt: skip
        rows.append(row)
        told = f"a loss of {loss:.2%} found {row['found']:.3f}" if loss is not None else ""
        print(f"{suite:26} {len(tasks):3} tasks  {items:6,} items  alike {row['alike']:.4f}  {told}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
