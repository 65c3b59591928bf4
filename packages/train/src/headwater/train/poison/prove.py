"""The proof: five trainings on real text that differ in nothing but the poison and the guard."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from headwater.core.events import read_events
from headwater.core.manifest import read_manifest
from headwater.train.losses import read_losses
from headwater.train.poison.shard import poison
from headwater.train.poison.text import SOURCE, VOCAB, make_data

STEPS, BATCH, SEQ_LEN, SEED = 640, 16, 64, 7
BURST = range(400, 424)
"""Steps (from 0) whose every sample is poisoned."""
SCATTERED_EVERY = 40
"""Or from step 200 on, so many steps apart, the samples of one step."""
TRAININGS = 5
OFF = {name: {"respond": "off"} for name in ("outlier", "gradient", "divergence")}
RECIPE: dict[str, Any] = {
    "name": "poison-proof", "seed": SEED, "mixture": {"weights": {SOURCE: 1}},
    "train": {
        "model": {"dim": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 4, "ffn_dim": 192},
        "seq_len": SEQ_LEN, "global_batch": BATCH, "micro_batch": BATCH, "steps": STEPS, "device": "cpu",
        "optimizer": {"learning_rate": 0.003}, "schedule": {"warmup_steps": 20, "decay_ratio": 0.6},
        "validation": {"every": 20, "batches": 16}, "checkpoint": {"every": 60, "keep_last": 3, "keep_best": 0},
    },
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How one training went.

    Attributes:
        name: "clean", or which poison, with or without the guard.
        validation_loss: At the end, nats a character.
        worst_validation_loss: From the first poisoned step on.
        highest_loss: Of a training step, from the first poisoned step on.
        skipped: Steps whose update was left out.
        rollbacks: How often it went back.
        left_out: Samples that rollbacks excluded.
        poisoned: Documents that were poisoned.
        named: Documents that the guard's events name.
        found: Poisoned documents that the events name.
    """

    name: str
    validation_loss: float
    worst_validation_loss: float
    highest_loss: float
    skipped: int
    rollbacks: int
    left_out: int
    poisoned: int
    named: int
    found: int


@dataclass(frozen=True)
class Proof:
    """The outcomes, the clean one first."""

    outcomes: list[Outcome]

    @property
    def good(self) -> bool:
        """Whether each guarded training ends within 1% of the clean one, and its events name poisoned documents."""
        clean = self.outcomes[0].validation_loss
        guarded = [one for one in self.outcomes if one.name.endswith("with the guard")]
        return all(one.validation_loss <= 1.01 * clean and one.found for one in guarded)

    def as_json(self) -> dict[str, Any]:
        """The proof as JSON values."""
        return {"good": self.good, "outcomes": [asdict(one) for one in self.outcomes]}


def prove(folder: Path, *, text: Path | None, tick: Callable[[str], None] = lambda name: None) -> Proof:
    """Runs the proof.

    Args:
        folder: For the data and the runs; empty.
        text: A text to train on; none: the topics of Python's `help()`.
        tick: Called after each training with its name.
    """
    make_data(folder / "data", text)
    outcomes = [_train(folder, "clean", {}, [], tick)]
    for name, steps in (("burst", BURST), ("scattered", range(200, STEPS, SCATTERED_EVERY))):
        samples = [step * BATCH + place for step in steps for place in range(BATCH)]
        for guard, how in ((OFF, "without the guard"), ({}, "with the guard")):
            outcomes.append(_train(folder, f"{name}, {how}", guard, samples, tick))
    return Proof(outcomes)


def _train(
    folder: Path, name: str, guard: Mapping[str, Any], samples: list[int], tick: Callable[[str], None]
) -> Outcome:
    from headwater.train.runner import train

    run = Path(shutil.copytree(folder / "data", folder / name.replace(", ", "-").replace(" ", "-")))
    touched = poison(run, seq_len=SEQ_LEN, seed=SEED, samples=samples, vocab_size=VOCAB) if samples else set()
    recipe = run / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**RECIPE, "train": {**RECIPE["train"], "guard": dict(guard)}}))
    train(recipe, run)
    tick(name)
    return _outcome(name, run, touched, samples[0] // BATCH if samples else BURST[0])


def _outcome(name: str, run: Path, touched: set[str], first: int) -> Outcome:
    events = read_events(run / "train" / "events.jsonl")
    told = [event for event in events if event["kind"] in ("spike", "skip", "nonfinite", "rollback")]
    named = {document["id"] for event in told for document in event["documents"]}
    validations = [event["loss"] for event in events if event["kind"] == "validation" and event["step"] > first]
    rows = read_losses(run / "train" / "losses.jsonl")
    rollbacks = [event for event in told if event["kind"] == "rollback"]
    seen = [row["loss"] for row in rows[first:]] + [loss for event in rollbacks for _, loss, _ in event["losses"]]
    return Outcome(
        name, read_manifest(run / "train").counters["validation_loss"], max(validations), max(seen),
        sum(bool(row.get("skipped")) for row in rows), len(rollbacks),
        sum(event["samples"][1] - event["samples"][0] for event in rollbacks), len(touched), len(named),
        len(named & touched),
    )  # fmt: skip
