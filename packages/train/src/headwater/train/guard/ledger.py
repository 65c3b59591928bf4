"""What the guard has done so far: what a rollback must not undo."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from headwater.core.skips import Skips, Window
from headwater.train.guard.config import GuardConfig

COUNTS = ("spikes", "skipped_steps", "nonfinite_steps", "rollbacks", "skipped_samples")


@dataclass(frozen=True)
class Reduction:
    """The learning rate is multiplied by `factor` from step `since` up to and with step `until`; 0: for good."""

    factor: float
    since: int
    until: int


@dataclass(frozen=True)
class Ledger:
    """The guard's account.

    Attributes:
        skips: The samples that rollbacks excluded.
        reductions: Of the learning rate.
        in_a_row: Rollbacks in a row, each near the one before.
        last_from: The step that the last rollback went back from; 0 before the first.
        last_window: The samples that the last rollback excluded.
        counts: How often what happened; the running totals of the metrics.
    """

    skips: Skips = field(default_factory=Skips)
    reductions: tuple[Reduction, ...] = ()
    in_a_row: int = 0
    last_from: int = 0
    last_window: Window = (0, 0)
    counts: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))

    def factor(self, step: int) -> float:
        """What the learning rate of a step is multiplied by."""
        return math.prod(
            one.factor for one in self.reductions if one.since <= step and (one.until == 0 or step <= one.until)
        )

    def counting(self, **more: int) -> Ledger:
        """The account with some counts raised."""
        return replace(self, counts={name: count + more.get(name, 0) for name, count in self.counts.items()})

    def in_a_row_at(self, step: int, config: GuardConfig) -> int:
        """How many rollbacks in a row there were before one from `step`."""
        near = self.last_from > 0 and step <= self.last_from + config.rollback.within_steps
        return self.in_a_row if near else 0

    def lowered(self, step: int, config: GuardConfig, *, since: int) -> Ledger:
        """The account after the learning rate was lowered because of `step`, from step `since` on.

        The steps that it lasts are counted from the one after `step`, or from `since` where that is later.
        """
        policy = config.learning_rate
        if policy.factor == 1:
            return self
        until = max(step, since - 1) + policy.steps if policy.steps else 0
        return replace(self, reductions=(*self.reductions, Reduction(policy.factor, since, until)))

    def window(self, start: int, stop: int, near: int) -> Window:
        """The samples to exclude for trouble at the positions `[start, stop)`.

        Trouble that begins again within `near` samples of the last window goes on where that ended: the window is
        made longer by the last one, so that windows double and a long bad stretch costs few rollbacks.
        """
        first, last = self.skips.index(start), self.skips.reach(stop)
        before, after = self.last_window
        return (first, last + (after - before if after and first - after <= near else 0))

    def rolled_back(self, step: int, window: Window, config: GuardConfig) -> Ledger:
        """The account after a rollback from `step` that excluded a window of samples."""
        row = self.in_a_row_at(step, config)
        skips = self.skips.including(*window)
        done = replace(self, skips=skips, in_a_row=row + 1, last_from=step, last_window=window)
        done = done.counting(rollbacks=1, skipped_samples=len(skips) - len(self.skips))
        return done.lowered(step, config, since=0) if row >= config.learning_rate.after_rollbacks else done

    def as_json(self) -> dict[str, Any]:
        """The account as JSON values."""
        return {
            "skips": self.skips.as_json(), "reductions": [list(astuple(one)) for one in self.reductions],
            "in_a_row": self.in_a_row, "last_from": self.last_from, "last_window": list(self.last_window),
            "counts": dict(self.counts),
        }  # fmt: skip

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Ledger:
        """From its JSON values."""
        first, last = value["last_window"]
        return cls(
            Skips.of(value["skips"]), tuple(Reduction(*one) for one in value["reductions"]),
            value["in_a_row"], value["last_from"], (first, last), dict(value["counts"]),
        )  # fmt: skip
