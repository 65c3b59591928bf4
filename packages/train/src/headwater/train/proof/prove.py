"""The whole proof: data, a training of each layout that nothing interrupts, trials, and what they add up to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from headwater.core.console import progress
from headwater.core.errors import TrainError
from headwater.core.fed import as_text, fed_digest, read_samples
from headwater.core.layout import RunLayout
from headwater.core.run import read_run
from headwater.core.tokens import MegatronReader
from headwater.core.trace.training import order_of
from headwater.train.losses import read_losses
from headwater.train.parity.layouts import LAYOUTS, Layout
from headwater.train.proof.leg import Job, finish, layouts_of, run_apart
from headwater.train.proof.trial import Reference, Trial, final_digest, run_trial

VOCAB = 97
STEPS, GLOBAL_BATCH = 16, 8

RECIPE: dict[str, Any] = {
    "name": "resume-proof", "seed": 7,
    # The second stage begins inside a step, and the smaller source is seen more than once.
    "mixture": {
        "stages": [
            {"name": "main", "share": 0.7, "weights": {"web": 3, "code": 1}},
            {"name": "anneal", "share": 0.3, "weights": {"code": 1, "web": 1}},
        ],
        "block": 16,
    },
    "train": {
        "model": {"dim": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 4, "ffn_dim": 64},
        "seq_len": 32, "global_batch": GLOBAL_BATCH, "micro_batch": 4, "steps": STEPS, "threads": 1, "device": "cpu",
        "optimizer": {"learning_rate": 0.01}, "schedule": {"warmup_steps": 2, "decay_ratio": 0.25},
        "validation": {"every": 5, "batches": 1}, "checkpoint": {"every": 2, "keep_last": 2, "keep_best": 1},
    },
}  # fmt: skip
"""Small, but all of it: a mixture with stages, validation, checkpoints in the background, retention."""


@dataclass(frozen=True)
class Proof:
    """What the trials add up to.

    Attributes:
        seed: Of the moments.
        layouts: Names of the layouts.
        steps: Of each training.
        trials: All of them.
        across: The largest difference of a step's loss between two layouts that nothing interrupted.
    """

    seed: int
    layouts: list[str]
    steps: int
    trials: list[Trial]
    across: float

    @property
    def good(self) -> bool:
        """Whether every trial was."""
        return all(trial.good for trial in self.trials)

    def as_json(self) -> dict[str, Any]:
        """The proof as JSON values."""
        return {**asdict(self), "good": self.good}


def prove(folder: Path, *, trials: int, layouts: Sequence[str], seed: int) -> Proof:
    """Runs the proof.

    Args:
        folder: For the data and the runs; empty.
        trials: How many.
        layouts: Names of the layouts to resume at.
        seed: Decides the moments.

    Raises:
        ConfigError: A layout is not known.
        TrainError: A training failed by itself, or was fed other tokens than the order of samples takes.
    """
    chosen = layouts_of(layouts, LAYOUTS)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    run_apart(folder / "data.log", _make_data, folder / "data")
    found: list[Trial] = []
    with progress(len(chosen) + trials, "resume-proof") as bar:
        references: dict[str, Reference] = {}
        for layout in chosen:
            references[layout.name] = _reference(folder, layout)
            bar.advance(1, f"{layout.name} without interruption")
        for number in range(1, trials + 1):
            legs = _legs(number, chosen)
            run = _copy(folder, f"trial-{number:03}")
            found.append(run_trial(number, seed, legs, references, partial(_job, folder, run)))
            if found[-1].good:
                shutil.rmtree(run)
            bar.advance(1, f"{sum(len(trial.kills) for trial in found)} kills")
    losses = [[row["loss"] for row in reference.rows] for reference in references.values()]
    across = max(max(column) - min(column) for column in zip(*losses, strict=True))
    return Proof(seed, list(layouts), STEPS, found, across)


def _legs(number: int, layouts: list[Layout]) -> list[Layout]:
    """The layouts of a trial: in every other one it stays, else it changes; in every fifth there is a third leg."""
    changes = [[one, other] for one in layouts for other in layouts if one is not other]
    stays = [[layout, layout] for layout in layouts]
    plans = changes if number % 2 == 0 and changes else stays
    legs = plans[number // 2 % len(plans)]
    return [*legs, legs[0]] if number % 5 == 0 else legs


def _reference(folder: Path, layout: Layout) -> Reference:
    run = _copy(folder, layout.name)
    seconds = finish(_job(folder, run, layout))
    path = run / "train" / "losses.jsonl"
    rows = read_losses(path)
    _check_fed(RunLayout(run), rows)
    events = [json.loads(line) for line in (run / "train" / "events.jsonl").read_text().splitlines()]
    saves = [event["seconds"] for event in events if event["kind"] == "checkpoint"]
    return Reference(layout, rows, path.read_bytes(), final_digest(run, STEPS), seconds, sum(saves) / len(saves))


def _check_fed(run: RunLayout, rows: list[dict[str, Any]]) -> None:
    """Holds what the processes were fed against the order of samples and the token files."""
    order = order_of(run, read_run(run.checkpoint(STEPS)))
    readers = {source.name: MegatronReader(run.tokens(source.name) / "train") for source in order.sources}
    for number, row in enumerate(rows):
        start = number * GLOBAL_BATCH
        expected = as_text(fed_digest(start, *read_samples(order, readers, start, start + GLOBAL_BATCH)))
        if row["fed"] != expected:
            raise TrainError(f"step {number + 1} was fed other tokens than the order of samples takes",
                             found=row["fed"], expected=expected)  # fmt: skip


def _copy(folder: Path, name: str) -> Path:
    return Path(shutil.copytree(folder / "data", folder / name))


def _job(folder: Path, run: Path, layout: Layout) -> Job:
    return Job(folder / "recipe.yaml", run, layout, run / "log.txt")


def _make_data(root: Path) -> None:
    from headwater.train.synthetic import make_tokenizer, make_tokens

    run = RunLayout(root)
    make_tokenizer(run, VOCAB)
    for number, (source, documents) in enumerate({"code": 14, "web": 80}.items()):
        make_tokens(run, source, documents, vocab_size=VOCAB, seed=number)
