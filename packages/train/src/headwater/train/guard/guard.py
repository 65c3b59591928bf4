"""The guard: detectors and policy, from the figures of a step to what is done about it.

It is a pure function of the figures of all steps so far, and these are the same on every rank, so that every rank comes
to the same verdict. On the device, an update is left out when a figure is not finite or above the limit that the guard
gave for that step; the guard is told so with the figures, one step later.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headwater.train.guard.config import GuardConfig
from headwater.train.guard.divergence import Divergence
from headwater.train.guard.gradient import Explosion
from headwater.train.guard.ledger import Ledger
from headwater.train.guard.outlier import Outlier

Response = Literal["none", "report", "skip", "lower", "rollback", "halt"]
Cause = Literal["", "nonfinite", "outlier", "gradient", "divergence", "skips"]

SKIPS_WINDOW = 64
"""Steps over which skipped ones are counted."""


@dataclass(frozen=True)
class Verdict:
    """What is to be done after a step.

    Attributes:
        response: The answer; "skip" was already carried out on the device.
        cause: The detector, or "skips" when there were too many of them; empty if all is well.
        onset: The first step that it is about.
    """

    response: Response
    cause: Cause
    onset: int


@dataclass(frozen=True)
class Limits:
    """Above which a step's update is left out; infinity for none."""

    loss: float
    grad_norm: float


class Guard:
    """Watches a run.

    Args:
        config: The `train.guard` section.
        begins: Whether another kind of data begins with a step, so that its loss says nothing by the ones before.

    Attributes:
        ledger: What was done so far.
    """

    def __init__(self, config: GuardConfig, begins: Callable[[int], bool] = lambda step: False) -> None:
        self.config, self._begins = config, begins
        self.ledger = Ledger()
        self._outlier = Outlier(z=config.outlier.z)
        self._gradient = Explosion(z=config.gradient.z, ratio=config.gradient.ratio)
        self._divergence = Divergence(rise=config.divergence.rise, threshold=config.divergence.threshold)
        self._skipped: deque[int] = deque()
        self._seen = self._validated = 0

    def forget(self) -> None:
        """Begins to watch anew: what comes is another kind of data, or there is no way back from where it is."""
        self._outlier.forget()
        self._gradient.forget()
        self._divergence.forget()
        self._skipped.clear()

    def limits(self, step: int) -> Limits:
        """The limits of a step; it must be one of the two after the last that was judged."""
        if self._begins(step) or self._begins(step - 1):
            return Limits(math.inf, math.inf)
        ahead = step - self._seen - 1
        loss = self._outlier.limit(ahead) if self.config.outlier.respond == "skip" else math.inf
        norm = self._gradient.limit(ahead) if self.config.gradient.respond == "skip" else math.inf
        return Limits(loss, norm)

    def judge(
        self, step: int, loss: float, grad_norm: float, *, refused: bool, overflowed: bool = False
    ) -> Verdict:  # fmt: skip
        """Takes the figures of the next step.

        Args:
            step: Its number, one more than the last.
            loss: Mean loss of the global batch.
            grad_norm: Before clipping.
            refused: Whether the device left the update out.
            overflowed: Whether it did so because the gradients were scaled too much: nothing is wrong with the run.
        """
        limits = self.limits(step) if refused else None
        if self._begins(step):
            self.forget()
        self._seen = step
        if overflowed:
            self._outlier.pass_over()
            self._gradient.pass_over()
            return Verdict("none", "", step)
        if limits is not None:
            return self._skip(step, self._why(loss, grad_norm, limits))
        # Each detector sees the step, whichever speaks.
        outlier, gradient = self._outlier.observe(loss), self._gradient.observe(grad_norm)
        began = self._divergence.observe(loss)
        policy = self.config
        if began is not None and policy.divergence.respond != "off":
            verdict = self._spike(policy.divergence.respond, "divergence", self._ago(began))
            if verdict.response == "lower":
                self._divergence.forget()  # one rise would alarm ten times, until the window is past it
            return verdict
        if outlier and policy.outlier.respond == "report":
            return self._spike("report", "outlier", step)
        if gradient and policy.gradient.respond == "report":
            return self._spike("report", "gradient", step)
        return Verdict("none", "", step)

    def judge_validation(self, step: int, loss: float) -> Verdict:
        """Takes the loss of the validation after a step. Trouble is not older than the validation before it."""
        if not math.isfinite(loss):
            response: Response = "halt" if self.config.nonfinite == "halt" else "rollback"
            return self._spike(response, "nonfinite", self._validated + 1)
        self._validated = step
        return Verdict("none", "", step)

    def _ago(self, steps: int) -> int:
        """The step that was so many steps ago, not counting skipped ones."""
        step = self._seen
        while steps > 0 or step in self._skipped:
            step -= 1
            steps -= step not in self._skipped
        return step

    def _why(self, loss: float, grad_norm: float, limits: Limits) -> Cause:
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            return "nonfinite"
        return "gradient" if grad_norm > limits.grad_norm else "outlier"

    def _skip(self, step: int, cause: Cause) -> Verdict:
        # What a skipped step was like says nothing about the run: no detector learns from it.
        self._outlier.pass_over()
        self._gradient.pass_over()
        self._skipped.append(step)
        while self._skipped[0] <= step - SKIPS_WINDOW:
            self._skipped.popleft()
        self.ledger = self.ledger.counting(skipped_steps=1, nonfinite_steps=int(cause == "nonfinite"))
        if cause == "nonfinite" and self.config.nonfinite != "skip":
            return self._spike(self.config.nonfinite, cause, step)
        if len(self._skipped) > self.config.skips:
            return self._spike("rollback", "skips", self._skipped[0])
        return Verdict("skip", cause, step)

    def _spike(self, response: Response, cause: Cause, onset: int) -> Verdict:
        self.ledger = self.ledger.counting(spikes=1)
        if response == "rollback":
            row = self.ledger.in_a_row_at(self._seen, self.config)
            if row >= self.config.rollback.at_most:
                return Verdict("halt", cause, onset)
        return Verdict(response, cause, onset)

    def state_dict(self) -> dict[str, Any]:
        """The state, as one string of JSON: the checkpoint keeps it as it is."""
        state = {
            "seen": self._seen, "validated": self._validated, "skipped": list(self._skipped),
            "outlier": self._outlier.state_dict(), "gradient": self._gradient.state_dict(),
            "divergence": self._divergence.state_dict(), "ledger": self.ledger.as_json(),
        }  # fmt: skip
        return {"json": json.dumps(state, sort_keys=True, allow_nan=False)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from a state."""
        state = json.loads(state_dict["json"])
        self._seen, self._skipped = int(state["seen"]), deque(state["skipped"])
        self._validated = int(state.get("validated", 0))  # of a checkpoint from before it was kept: 0
        self._outlier.load_state_dict(state["outlier"])
        self._gradient.load_state_dict(state["gradient"])
        self._divergence.load_state_dict(state["divergence"])
        self.ledger = Ledger.of(state["ledger"])
