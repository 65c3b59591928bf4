"""Trains the recipes `schedule-*` at equal tokens, and prints the loss on the held-out documents of each source.

One process does it all on a CPU: the data once, then six short trainings: the five recipes, and the static one again
with the averaged weights of the re-weighted run, which is what DoReMi trains the large model on. The loss of buckets is
that of their documents together.

    python benchmarks/train/data_schedules.py --prose tinyshakespeare.txt --gsm8k FOLDER [--folder DIR] [--seeds 1]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
RECIPES = ("static", "temperature", "stages", "difficulty", "reweighting", "averaged")
SOURCES = ("prose", "code", "reference", "maths")
_BUCKET = re.compile(r"-\d+of\d+$")


def headwater(*arguments: str) -> None:
    """Runs a command in this process: importing torch takes as long as a training here."""
    from headwater.core import cli

    cli.headwater.main(list(arguments), standalone_mode=False)


def prepare(folder: Path, prose: Path, gsm8k: Path) -> tuple[Path, Path, list[str]]:
    """The data of all recipes, without and with buckets, and the overrides that find it."""
    model = folder / "maths.ngram"
    if not model.is_file():
        headwater("data", "model", "train", "ngram", "--text", str(gsm8k / "test.jsonl"), "--field", "question",
                  "--vocabulary", "2000", "--prune", "0", "--out", str(model))  # fmt: skip
    where = [f"sources.prose.uris=[{prose}]", f"sources.maths.uris=[{gsm8k / 'train.jsonl'}]",
             "documents.engine.workers=1", "tokens.workers=1"]  # fmt: skip
    bucketed = [f"documents.sources.maths=[extract, {{perplexity: {{model: {model}, max_perplexity: 1.0e+9}}}}]"]
    runs = []
    for name, recipe, more in (("plain", "schedule-static", []), ("buckets", "schedule-difficulty", bucketed)):
        run = folder / name
        for stage in ("collect", "run", "tokenizer", "tokenize"):
            headwater("data", stage, "--recipe", recipe, "--run", str(run), *where, *more)
        runs.append(run)
    return runs[0], runs[1], where


def train(folder: Path, name: str, data: Path, overrides: list[str]) -> Path:
    """Trains one recipe on a copy of the data; returns the run."""
    run = folder / name
    if not run.is_dir():
        for part in ("tokenizer", "tokens"):
            shutil.copytree(data / part, run / part)
    recipe = "static" if name.startswith("averaged") else name.partition("@")[0]
    headwater("train", "run", "--recipe", f"schedule-{recipe}", "--run", str(run), *overrides)
    return run


def losses(run: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Source → held-out loss, buckets joined, and source → share of the samples, of a finished run."""
    from headwater.core.layout import RunLayout
    from headwater.core.manifest import read_manifest
    from headwater.core.run import read_run

    layout = RunLayout(run)
    info = read_run(layout.checkpoint(int(read_manifest(layout.train).counters["steps"])))
    sums: dict[str, list[float]] = {}
    shares: dict[str, float] = {}
    for name, loss in info.validation_losses.items():
        counters = read_manifest(layout.tokens(name)).counters
        scored = counters["validation_tokens"] - counters["validation_documents"]  # without the ends of text
        nats, tokens = sums.get(_BUCKET.sub("", name), [0.0, 0.0])
        sums[_BUCKET.sub("", name)] = [nats + loss * scored, tokens + scored]
    for name, weight in info.weights.items():
        shares[_BUCKET.sub("", name)] = shares.get(_BUCKET.sub("", name), 0.0) + weight
    return {name: nats / tokens for name, (nats, tokens) in sums.items()}, shares


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prose", type=Path, required=True)
    parser.add_argument("--gsm8k", type=Path, required=True)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="data-schedules-"))
    folder.mkdir(parents=True, exist_ok=True)
    plain, buckets, _ = prepare(folder, options.prose.resolve(), options.gsm8k.resolve())
    found: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = {}
    for seed in range(options.seeds):
        for name in RECIPES:
            overrides: list[str] = [f"seed={seed}"]
            if name == "reweighting":
                overrides.append(f"train.reweighting.reference={folder / f'static@{seed}'}")
            if name == "averaged":
                from headwater.core.config import read_mapping

                average: dict[str, Any] = read_mapping(folder / f"reweighting@{seed}/train/mixture.yaml", "average")
                overrides.append(f"mixture.weights={average['mixture']['weights']}".replace("'", ""))
            began = time.process_time()
            run = train(folder, f"{name}@{seed}", buckets if name == "difficulty" else plain, overrides)
            print(f"{name}, seed {seed}: {time.process_time() - began:.0f} CPU seconds", flush=True)
            found.setdefault(name, []).append(losses(run))
    show(found)


def show(found: dict[str, list[tuple[dict[str, float], dict[str, float]]]]) -> None:
    """Prints a table in Markdown: the mean over seeds, and the range where there are several."""
    print("\n| recipe | " + " | ".join(f"{s}, share" for s in SOURCES) + " | mean | worst |")
    print("|---|" + "---:|" * (len(SOURCES) + 2))
    for name, results in found.items():
        cells = []
        for source in SOURCES:
            values = [figures[source] for figures, _ in results]
            spread = f" ± {(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{spread}, {results[0][1][source]:.2f}")
        means = [statistics.mean(figures.values()) for figures, _ in results]
        worst = [max(figures.values()) for figures, _ in results]
        print(f"| {name} | " + " | ".join(cells) + f" | {statistics.mean(means):.3f} | {statistics.mean(worst):.3f} |")


if __name__ == "__main__":
    main()
