"""Muon against AdamW at equal tokens: nanoGPT's character-level Shakespeare, the recipe `shakespeare-char-cpu`.

    python benchmarks/train/muon.py --text input.txt [--seeds 1337,1,2] [--steps 2000] [--rate 2e-3] [--json FILE]

The recipe is trained with each seed as it is, and with Muon for the matrices of the blocks, its update scaled so that
AdamW's learning rate does (`match_rms_adamw`); the rest keeps AdamW as the recipe has it. Shown are the validation loss
at the end, and after how many steps (of equally many tokens) Muon has AdamW's last validation loss, by validations of
`--every` steps.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from headwater.core.events import read_events
from headwater.train.runner import train

RECIPE = "recipes/shakespeare-char-cpu.yaml"


def validations(run: Path) -> dict[int, float]:
    """Step → validation loss."""
    events = read_events(run / "train" / "events.jsonl")
    return {event["step"]: event["loss"] for event in events if event["kind"] == "validation"}


def main() -> None:
    """Trains and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--seeds", default="1337,1,2")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate of Muon's matrices")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    beside = "{learning_rate: 1.0e-3, betas: [0.9, 0.99]}"
    muon = f"{{name: muon, learning_rate: {options.rate}, adamw: {beside}}}"
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="headwater-muon-") as work:
        data = Path(work) / "data"
        subprocess.run(
            [sys.executable, "-m", "headwater.core.cli", "line", "run", RECIPE, "--run", str(data), "--until",
             "tokens", f"sources.shakespeare.uris=[{options.text.resolve()}]"], check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        for seed in options.seeds.split(","):
            found = {}
            for name, optimizer in (("adamw", []), ("muon", [f"train.optimizer={muon}"])):
                run = Path(work) / f"{name}-{seed}"
                shutil.copytree(data, run)
                train(RECIPE, run, [
                    f"seed={seed}", f"train.steps={options.steps}", f"train.validation.every={options.every}",
                    f"train.threads={options.threads}", f"train.checkpoint.every={options.steps}", *optimizer,
                ])  # fmt: skip
                found[name] = validations(run)
            last = found["adamw"][options.steps]
            reached = next((step for step, loss in sorted(found["muon"].items()) if loss <= last), None)
            row = {"seed": int(seed), "adamw": last, "muon": found["muon"][options.steps], "reached": reached}
            rows.append(row | {"curves": found})
            print(row, flush=True)
    means = {name: statistics.fmean(row[name] for row in rows) for name in ("adamw", "muon")}
    print(means)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "means": means}, indent=1))


if __name__ == "__main__":
    main()
