"""The documents of one training step, from the order and the sidecars."""

from __future__ import annotations

from dataclasses import dataclass

from headwater.core.errors import DataError
from headwater.core.layout import RunLayout
from headwater.core.sidecar import Sidecars
from headwater.core.skips import KeptOrder
from headwater.core.trace.training import Training, read_training


@dataclass(frozen=True)
class Part:
    """A document's share of a sample, in tokens."""

    id: str
    url: str
    tokens: int


@dataclass(frozen=True)
class StepSample:
    """One sample of a step: its number in the order, its source, epoch and first token, and its documents in order."""

    index: int
    source: str
    epoch: int
    token_start: int
    documents: list[Part]


@dataclass(frozen=True)
class StepTrace:
    """The samples of one step.

    Attributes:
        step: From 1.
        done: Whether the newest checkpoint is at this step or later.
        steps_done, steps_planned: Of the run.
        sample_tokens: Tokens that one sample reads: `seq_len` inputs and the label of the last one.
        stages: The stages of a staged mixture that the samples belong to; else none.
    """

    step: int
    done: bool
    steps_done: int
    steps_planned: int
    sample_tokens: int
    stages: list[str]
    samples: list[StepSample]


def need_training(run: RunLayout) -> Training:
    """The run's training.

    Raises:
        DataError: There is neither a checkpoint nor a recipe with tokens yet.
    """
    training = read_training(run)
    if training is None:
        raise DataError(
            f"{run.root} has no order of samples yet: no checkpoint, and no recipe.yaml with finished tokens",
            hint="run: headwater line run RECIPE --run DIR (or data tokenize, then train run)",
        )
    return training


def trace_step(run: RunLayout, step: int) -> StepTrace:
    """The documents that step `step` (from 1) reads.

    Raises:
        DataError: The run has no such step, or no order yet.
    """
    training = need_training(run)
    if not 1 <= step <= training.steps_planned:
        raise DataError(f"the run has no step {step}", expected=f"1 to {training.steps_planned}")
    order, sidecars = training.order, Sidecars(run.tokens_root)
    length = order.seq_len + 1
    samples: list[StepSample] = []
    samples_of = training.step_samples
    for position in range(samples_of.consumed(step - 1), samples_of.consumed(step)):
        sample = order.locate(position)
        sidecar = sidecars.get(sample.source)
        covering = sidecar.covering(sample.offset, sample.offset + length) if sidecar else []
        parts = [Part(held.id, held.url, held.tokens) for held in covering]
        samples.append(StepSample(sample.index, sample.source, sample.epoch, sample.offset, parts))
    done = step <= training.step
    return StepTrace(step, done, training.step, training.steps_planned, length, _stages(order, samples), samples)


def _stages(order: KeptOrder, samples: list[StepSample]) -> list[str]:
    if len(order.stages) == 1:
        return []
    return [order.stages[number].name for number in sorted({order.order.stage_at(sample.index) for sample in samples})]
