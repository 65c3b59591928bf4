"""Trains cells of the matrix and holds them against the plain references."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from headwater.core.errors import ConfigError, HeadwaterError
from headwater.core.fed import read_samples
from headwater.core.layout import RunLayout
from headwater.train import titan
from headwater.train.batches import read_batch
from headwater.train.inputs import Inputs
from headwater.train.losses import read_losses
from headwater.train.matrix.plain_examples import Sample, Tokens, wrong
from headwater.train.matrix.recipe import TOKENS, Cell, make_data, recipe
from headwater.train.objectives.examples import Examples
from headwater.train.runner import open_run, train

TOLERANCE = 1e-5
"""Of the loss of the first step, as a share of it: float32 in another order of sums."""
CHECKED = 64
"""Samples of each objective that are held against the plain reference."""
LAST = 5
"""The last loss is the mean of so many steps'."""


@dataclass(frozen=True)
class Row:
    """A training and what came of it.

    Attributes:
        objective, optimizer, schedule: Its names.
        state: "right"; "wrong samples", "other loss" or "did not learn"; "refused" when the recipe is, "failed".
        first, last: Loss of the first step, and mean loss of the last five.
        plain: The loss of the first step as the plain reference has it.
        reason: What is wrong.
    """

    objective: str
    optimizer: str
    schedule: str
    state: str
    first: float | None = None
    last: float | None = None
    plain: float | None = None
    reason: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.state in ("right", "refused")

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


@dataclass(frozen=True)
class Reference:
    """What the plain references say of an objective: what is wrong with its samples, and the first step's loss."""

    faults: list[str]
    loss: float


def compare(
    cells: Sequence[Cell], steps: int, folder: Path, tick: Callable[[str], None] = lambda name: None
) -> list[Row]:
    """Trains every cell.

    Args:
        cells: Which.
        steps: Optimizer steps of each.
        folder: A folder to work in.
        tick: Called after each with its name.
    """
    make_data(RunLayout(folder / "data"))
    references: dict[str, Reference] = {}
    rows: list[Row] = []
    titan.start("cpu", 1, 1)
    try:
        for cell in cells:
            rows.append(_train(cell, steps, folder, references))
            tick(cell.name)
    finally:
        titan.stop()
    return rows


def _train(cell: Cell, steps: int, folder: Path, references: dict[str, Reference]) -> Row:
    names = (cell.objective, cell.optimizer, cell.schedule)
    file, run = folder / f"{cell.name}.yaml", folder / cell.name
    file.write_text(yaml.safe_dump(recipe(cell, steps)))
    run.mkdir()
    for part in ("tokenizer", "tokens"):
        (run / part).symlink_to(folder / "data" / part)
    try:
        inputs = open_run(file, run)
        if cell.objective not in references:
            references[cell.objective] = reference(inputs, TOKENS)
        train(file, run)
    except ConfigError as error:
        return Row(*names, "refused", reason=str(error))
    except HeadwaterError as error:
        return Row(*names, "failed", reason=str(error))
    losses = [row["loss"] for row in read_losses(run / "train" / "losses.jsonl")]
    known, last = references[cell.objective], float(np.mean(losses[-LAST:]))
    state, reason = "right", ""
    if known.faults:
        state, reason = "wrong samples", known.faults[0]
    elif abs(losses[0] - known.loss) > TOLERANCE * abs(known.loss):
        state, reason = "other loss", f"{losses[0]} and not {known.loss}"
    elif not last < losses[0]:
        state, reason = "did not learn", f"from {losses[0]:.3f} to {last:.3f}"
    return Row(*names, state, losses[0], last, known.loss, reason)


def reference(inputs: Inputs, tokens: Tokens) -> Reference:
    """Samples and first loss of a run as the plain references have them; torchtitan must have been started.

    Args:
        inputs: The run's inputs; its model has to be small.
        tokens: The special tokens of its tokenizer.
    """
    from headwater.train.matrix.plain_loss import plain_loss
    from headwater.train.titan.model import model_spec

    objective = inputs.config.objective
    faults = [
        f"sample {number}: {fault}"
        for number, sample in enumerate(samples(inputs, CHECKED))
        for fault in wrong(objective.kind, sample, tokens)
    ]
    batch = read_batch(inputs, 0, inputs.config.global_batch)
    model: Any = model_spec(inputs.shape, "cpu", inputs.base.seed, inputs.config.mup, objective).model.build()
    model.init_weights(buffer_device=None)
    examples = Examples(batch.inputs_BL, batch.labels_BL, batch.positions_BL, batch.seen_BL, batch.chances_BL)
    return Reference(faults, plain_loss(model.eval(), examples, objective))


def samples(inputs: Inputs, count: int) -> list[Sample]:
    """The first samples of a run as lists."""
    read_BM, places_BL = read_samples(inputs.order, inputs.readers, 0, count)
    batch = read_batch(inputs, 0, count)
    seen_BL = np.zeros(batch.inputs_BL.shape, dtype=bool) if batch.seen_BL is None else batch.seen_BL
    columns = (read_BM, places_BL, batch.inputs_BL, batch.labels_BL, batch.positions_BL, seen_BL)
    return [Sample(*(column[row].tolist() for column in columns)) for row in range(count)]
