"""Re-weighting as a run goes on: what a window of steps cost each source, and the stages that came of it.

A change ends the stage of the mixture that is being trained on and begins another, at the first sample that was not
consumed yet. So the order of samples stays a pure function of what a checkpoint records (`StageInfo`), and resuming,
tracing and verifying are those of any staged mixture. All of the state lies in the checkpoint, so that a rollback of
the guard undoes the changes that came after it; the windows that it excludes begin later, and move no border.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.core.order import Order, StageSpec
from headwater.train.inputs import Inputs
from headwater.train.reweighting import UNITS, rounded, updated


@dataclass(frozen=True)
class Change:
    """A change of the weights.

    Attributes:
        losses: Source → mean training loss over the window; those of which a token counts.
        excess: Source → excess loss.
        exact: Source → weight, before it is rounded: what the next change goes on from.
        before, after: Source → share of the samples, 0–1.
        shift: What the change alone does to the mean loss, nats a token.
    """

    losses: dict[str, float]
    excess: dict[str, float]
    exact: dict[str, float]
    before: dict[str, float]
    after: dict[str, float]
    shift: float


class Reweigher:
    """Changes the weights of a run's mixture. Every process has one, with the same state.

    Args:
        inputs: The run's inputs; their order is replaced by one with the stages so far.
    """

    def __init__(self, inputs: Inputs) -> None:
        assert inputs.config.reweighting is not None
        self._inputs, self._config = inputs, inputs.config.reweighting
        self._reference = self._config.losses()
        self._names = [source.name for source in inputs.order.sources]
        weights = inputs.mixture.normalised()
        self._exact = {name: weights[name] for name in self._names}
        self._excess = dict.fromkeys(self._names, 0.0)
        self._stages: list[StageSpec] = []
        self._start = 0  # of the last stage
        self._begun = 0
        self._risen = 0.0
        self._forget()

    def _forget(self) -> None:
        self._nats = [0.0] * len(self._names)
        self._tokens = [0.0] * len(self._names)

    def due(self, step: int) -> bool:
        """Whether the weights change after a step. After the last one they do not."""
        return step % self._config.every == 0 and step < self._inputs.config.steps

    def begins(self, step: int) -> bool:
        """Whether a change before a step raises the loss so far that the steps before say little about it."""
        return step == self._begun

    def add(self, nats: Sequence[float], tokens: Sequence[float]) -> None:
        """Takes a step whose update was applied.

        Args:
            nats: Summed losses of each source, in the order of the order's sources.
            tokens: For how many tokens these count.
        """
        if all(map(math.isfinite, nats)):
            self._nats = [total + more for total, more in zip(self._nats, nats, strict=True)]
            self._tokens = [total + more for total, more in zip(self._tokens, tokens, strict=True)]

    def decide(self, step: int) -> Change:
        """The change that the window up to a step asks for. A source without a token keeps its excess of before."""
        losses = {
            name: nats / tokens
            for name, nats, tokens in zip(self._names, self._nats, self._tokens, strict=True)
            if tokens
        }
        excess = self._excess | {name: max(loss - self._reference[name], 0.0) for name, loss in losses.items()}
        exact = updated(self._exact, excess, self._config.step_size, self._config.smoothing)
        samples = self._inputs.config.step_samples
        window = samples.consumed(step + self._config.every) - samples.consumed(step)  # in which the weights count
        after = rounded(exact, max(len(exact), min(UNITS, self._inputs.mixture.block, window)))
        before = self.weights
        shift = math.fsum((after[name] - before[name]) * loss for name, loss in losses.items())
        return Change(losses, excess, exact, before, after, shift)

    def apply(self, step: int, change: Change, start: int, stop: int) -> None:
        """Begins a stage with the new weights.

        Args:
            step: The last step of the old ones.
            change: What changes.
            start: The first sample of the order that is not consumed yet.
            stop: One more than the last sample that the run is to consume.
        """
        if not self._stages:
            weights = self._inputs.mixture.weights
            self._stages.append(StageSpec("start", 1, {name: weights[name] for name in self._names}))
        self._stages[-1] = StageSpec(self._stages[-1].name, start - self._start, self._stages[-1].weights)
        self._stages.append(StageSpec(f"after step {step}", stop - start, change.after))
        self._exact, self._excess, self._start = change.exact, change.excess, start
        # What rises bit by bit counts as well; what falls makes no alarm.
        self._risen = max(self._risen + change.shift, 0.0)
        if self._risen >= self._inputs.config.guard.divergence.rise:
            self._begun, self._risen = step + 1, 0.0
        self._forget()
        self._lay_out()

    @property
    def weights(self) -> dict[str, float]:
        """Source → share of the samples now, 0–1."""
        now = self._stages[-1].weights if self._stages else self._inputs.mixture.normalised()
        total = math.fsum(now.values())
        return {name: now[name] / total for name in self._names}

    def _lay_out(self) -> None:
        old = self._inputs.order
        self._inputs.order = Order(old.sources, old.seq_len, old.seed, old.block, self._stages)

    def state_dict(self) -> dict[str, Any]:
        """The state, as one string of JSON, whose numbers read back to the same bits."""
        state = {
            "exact": self._exact, "excess": self._excess, "nats": self._nats, "tokens": self._tokens,
            "stages": [[stage.name, stage.samples, dict(stage.weights)] for stage in self._stages],
            "start": self._start, "begun": self._begun, "risen": self._risen,
        }  # fmt: skip
        return {"json": json.dumps(state, sort_keys=True, allow_nan=False)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state, with the order that belongs to it."""
        state = json.loads(state_dict["json"])
        self._exact, self._excess = state["exact"], state["excess"]
        self._nats, self._tokens = state["nats"], state["tokens"]
        self._stages = [StageSpec(name, samples, weights) for name, samples, weights in state["stages"]]
        self._start, self._begun, self._risen = state["start"], state["begun"], state["risen"]
        self._lay_out()
