"""Muon against AdamW at equal tokens: nanoGPT's character-level Shakespeare, the recipe `shakespeare-char-cpu`.

    python benchmarks/train/muon.py --text input.txt [--folder FOLDER] [--seeds 1337,1,2] [--steps 2000]
        [--tuning-steps 1000] [--shorter 0.75] [--json FILE]

Learning rates are chosen first, for both in the same way, with a seed that is none of those reported and in trainings
of `--tuning-steps`: a peak is doubled and halved until the best lies between two that are worse, by the validation loss
at the end. First AdamW's; then that of Muon for the matrices of the blocks, its update scaled so that AdamW's learning
rate should do (`match_rms_adamw`). The rest of the parameters keep AdamW, with the rate chosen for AdamW alone. All
else is the recipe's.

Then both train with each seed. Shown are the validation loss at the end, and after how many steps (of equally many
tokens) Muon has AdamW's last loss: on the way, where its learning rate is still high, between two validations along a
straight line; and by trainings of Muon that end sooner (`--shorter`, in shares of the steps). With `--folder` what was
trained is kept, and the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from headwater.core.events import read_events
from headwater.train.runner import train

RECIPE = "recipes/shakespeare-char-cpu.yaml"


def main() -> None:
    """Trains and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--folder", type=Path, help="where the runs are kept; default: a temporary folder")
    parser.add_argument("--seeds", default="1337,1,2")
    parser.add_argument("--tuning-seed", type=int, default=7)
    parser.add_argument("--start", type=float, default=2e-3, help="peak learning rate that the choice begins at")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--tuning-steps", type=int, default=1000, help="of the trainings that choose learning rates")
    parser.add_argument("--every", type=int, default=200, help="steps between two validations")
    parser.add_argument("--shorter", default="", help="shares of the steps that Muon is trained for too, as 0.5,0.75")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.tuning_seed in map(int, options.seeds.split(",")):
        parser.error("--tuning-seed is one of --seeds: rates would be chosen on what is reported")
    with tempfile.TemporaryDirectory(prefix="headwater-muon-") as temporary:
        figures = measure(Bench(options.folder or Path(temporary), options), options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


class Bench:
    """Trains the recipe in folders below one, each once.

    Args:
        folder: Where the runs are.
        options: Of the command.
    """

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.data = folder / "data"
        subprocess.run(
            [sys.executable, "-m", "headwater.core.cli", "line", "run", RECIPE, "--run", str(self.data), "--until",
             "tokens", f"sources.shakespeare.uris=[{options.text.resolve()}]"], check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def curve(self, optimizer: str, seed: int, *, steps: int, every: int) -> dict[int, float]:
        """Step → validation loss of one training."""
        run = self.folder / f"{re.sub(r'[^a-z0-9.]+', '-', optimizer).strip('-')}-steps-{steps}-seed-{seed}"
        for part in ("tokenizer", "tokens"):
            if not (run / part).is_dir():
                shutil.copytree(self.data / part, run / part)
        ended = train(RECIPE, run, [
            f"seed={seed}", f"train.steps={steps}", f"train.validation.every={every}", f"train.optimizer={optimizer}",
            f"train.threads={self.options.threads}", f"train.checkpoint.every={steps}",
        ])  # fmt: skip
        if ended.state == "terminated":
            raise SystemExit("a training was stopped; with --folder the same command goes on from it")
        events = read_events(run / "train" / "events.jsonl")
        return {event["step"]: event["loss"] for event in events if event["kind"] == "validation"}

    def tuned(self, name: str, optimizer: Callable[[float], str], start: float) -> tuple[float, dict[float, float]]:
        """The best peak, and the last loss of every one that was tried."""
        steps, seed, losses = self.options.tuning_steps, self.options.tuning_seed, dict[float, float]()
        missing = [start]
        while missing:
            for rate in missing:
                losses[rate] = self.curve(optimizer(rate), seed, steps=steps, every=steps)[steps]
                print(f"{name}, peak {rate:g}, seed {seed}: {losses[rate]:.4f}", flush=True)
            best = min(losses, key=lambda rate: losses[rate])
            missing = [rate for rate in (best / 2, best * 2) if rate not in losses]
        return best, dict(sorted(losses.items()))


def adamw(rate: float) -> str:
    """The recipe's optimizer with another peak."""
    return f"{{learning_rate: {rate:f}, betas: [0.9, 0.99]}}"


def muon(rate: float, beside: float) -> str:
    """Muon, and AdamW for what it leaves."""
    return f"{{name: muon, learning_rate: {rate:f}, adamw: {adamw(beside)}}}"


def measure(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """Chooses, trains and prints."""
    steps, every = options.steps, options.every
    beside, tried = bench.tuned("adamw", adamw, options.start)
    rate, tried_muon = bench.tuned("muon", lambda peak: muon(peak, beside), options.start)
    shorter = [round(float(share) * steps) for share in options.shorter.split(",") if share]
    rows: list[dict[str, Any]] = []
    for seed in map(int, options.seeds.split(",")):
        first = bench.curve(adamw(beside), seed, steps=steps, every=every)
        other = bench.curve(muon(rate, beside), seed, steps=steps, every=every)
        rows.append({
            "seed": seed, "adamw": first[steps], "muon": other[steps], "reached": reached(other, first[steps]),
            "curves": {"adamw": first, "muon": other},
            "shorter": {
                fewer: bench.curve(muon(rate, beside), seed, steps=fewer, every=fewer)[fewer]
                for fewer in shorter
            },
        })  # fmt: skip
    show(rows, steps, {"adamw": beside, "muon": rate})
    return {"rates": {"adamw": beside, "muon": rate}, "tried": {"adamw": tried, "muon": tried_muon}, "rows": rows}


def reached(curve: dict[int, float], loss: float) -> int | None:
    """The step at which a curve first has a loss; none if it never has."""
    points = sorted(curve.items())
    for (start, above), (stop, below) in pairwise([(0, math.inf), *points]):
        if below <= loss:
            return stop if math.isinf(above) else round(stop - (stop - start) * (loss - below) / (above - below))
    return None


def show(rows: list[dict[str, Any]], steps: int, rates: dict[str, float]) -> None:
    """Prints a table in Markdown."""
    print(f"\npeak learning rates: AdamW {rates['adamw']:g}, Muon {rates['muon']:g} (the rest: AdamW's)\n")
    print("| | " + " | ".join(f"seed {row['seed']}" for row in rows) + " | mean |")
    print("|---|" + "---|" * (len(rows) + 1))

    def line(name: str, values: list[float]) -> None:
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in [*values, statistics.fmean(values)]) + " |")

    line(f"AdamW, {steps} steps", [row["adamw"] for row in rows])
    line(f"Muon, {steps} steps", [row["muon"] for row in rows])
    for fewer in rows[0]["shorter"]:
        line(f"Muon, {fewer} steps", [row["shorter"][fewer] for row in rows])
    print("| Muon has AdamW's last loss after | " + " | ".join(str(row["reached"]) for row in rows) + " | |")


if __name__ == "__main__":
    main()
