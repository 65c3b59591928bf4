"""One trial: a training that is killed once or twice and resumed, and how it differs from one that was not."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact
from headwater.train.losses import read_losses
from headwater.train.parity.layouts import Layout
from headwater.train.proof.leg import Job, finish
from headwater.train.resume import checkpoint_folders


@dataclass(frozen=True)
class Reference:
    """A training that nothing interrupted.

    Attributes:
        layout: Its layout.
        rows: Of its `losses.jsonl`.
        lines: The file itself.
        final: Digest of its last checkpoint's manifest.
        seconds: How long it took.
        save_seconds: How long a checkpoint took.
    """

    layout: Layout
    rows: list[dict[str, Any]]
    lines: bytes
    final: str
    seconds: float
    save_seconds: float


@dataclass(frozen=True)
class Kill:
    """A kill: the layout that ran, how the moment was chosen, and what was there.

    Attributes:
        layout: Name of the layout.
        moment: "any time", "step" or "save".
        steps: Steps that were logged.
        saving: Whether a checkpoint was being written.
        whole: Step of the newest whole checkpoint; 0 for none.
    """

    layout: str
    moment: str
    steps: int
    saving: bool
    whole: int


@dataclass(frozen=True)
class Trial:
    """What became of a trial.

    Attributes:
        number: From 1.
        kills: In order.
        layouts: Names of the layouts of its legs, the last of which finished.
        samples_equal: Whether each step had the samples of the uninterrupted training, each once.
        fed_equal: Whether each step was fed the same tokens.
        losses_identical: Whether `losses.jsonl` is the same file; none when the layout changed.
        checkpoint_identical: Whether the last checkpoint is the same, byte for byte; none when the layout changed.
        largest_difference: Of a step's loss.
    """

    number: int
    kills: list[Kill]
    layouts: list[str]
    samples_equal: bool
    fed_equal: bool
    losses_identical: bool | None
    checkpoint_identical: bool | None
    largest_difference: float

    @property
    def good(self) -> bool:
        """Whether nothing was found that may not be."""
        return self.samples_equal and self.fed_equal and False not in (self.losses_identical, self.checkpoint_identical)


def run_trial(
    number: int, seed: int, legs: list[Layout], references: dict[str, Reference], job: Callable[[Layout], Job]
) -> Trial:
    """Runs a trial.

    Args:
        number: From 1.
        seed: Of the whole proof; with the number it decides the moments.
        legs: The layout of each leg; all but the last are killed.
        references: Layout → training that nothing interrupted.
        job: Makes the job of a leg, all of one run folder.

    Raises:
        TrainError: A leg failed by itself.
    """
    rng = random.Random(f"{seed} {number}")  # noqa: S311 (no secret)
    kills: list[Kill] = []
    for place, layout in enumerate(legs[:-1]):
        moment = ("save", "any time", "step")[(number + place) % 3]
        kills.append(_killed(job(layout), moment, references[layout.name], rng))
    last = job(legs[-1])
    finish(last)
    return _judge(number, kills, legs, last.run, references)


def _killed(job: Job, moment: str, reference: Reference, rng: random.Random) -> Kill:
    """Starts a leg and kills it at a moment; one that ended first stands as it was killed at its end."""
    layout, steps = RunLayout(job.run), len(reference.rows)
    losses = job.run / "train" / "losses.jsonl"
    begun = _logged(losses)
    delay = rng.uniform(0, reference.seconds)
    at_step = rng.randint(min(begun + 1, steps), steps)
    leg = job.start()
    if moment == "step":
        leg.run_until(lambda: _logged(losses) >= at_step)
        delay = rng.uniform(0, reference.seconds / steps)
    elif moment == "save":
        leg.run_until(lambda: _saving(layout, at_step))
        delay = rng.uniform(0, reference.save_seconds)
    since = time.monotonic()
    leg.run_until(lambda: time.monotonic() - since >= delay)
    leg.kill()
    whole = [step for step, path in checkpoint_folders(layout.checkpoints) if is_artifact(path)]
    return Kill(job.layout.name, moment, _logged(losses), _saving(layout, 0), max(whole, default=0))


def _logged(losses: Path) -> int:
    return losses.read_bytes().count(b"\n") if losses.is_file() else 0


def _saving(layout: RunLayout, least: int) -> bool:
    """Whether a checkpoint of a step not before `least` has been begun and not finished."""
    return any(step >= least and not is_artifact(path) for step, path in checkpoint_folders(layout.checkpoints))


def _judge(
    number: int, kills: list[Kill], legs: list[Layout], run: Path, references: dict[str, Reference]
) -> Trial:  # fmt: skip
    names = [layout.name for layout in legs]
    reference = references[names[-1]]
    path = run / "train" / "losses.jsonl"
    rows = read_losses(path)
    same = len(set(names)) == 1
    differences = [abs(a["loss"] - b["loss"]) for a, b in zip(rows, reference.rows, strict=False)]
    return Trial(
        number, kills, names,
        samples_equal=[(row["step"], row["samples"]) for row in rows]
        == [(row["step"], row["samples"]) for row in reference.rows],
        fed_equal=[row["fed"] for row in rows] == [row["fed"] for row in reference.rows],
        losses_identical=path.read_bytes() == reference.lines if same else None,
        checkpoint_identical=final_digest(run, len(reference.rows)) == reference.final if same else None,
        largest_difference=max(differences, default=0.0),
    )  # fmt: skip


def final_digest(run: Path, steps: int) -> str:
    """Digest of the last checkpoint's manifest; empty when it is not there."""
    folder = RunLayout(run).checkpoint(steps)
    return str(json.loads((folder / "manifest.json").read_bytes())["digest"]) if is_artifact(folder) else ""
