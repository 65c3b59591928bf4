"""The recipe's `train.schedule` section: the learning rate of each step, as a share of the peak.

All begin with a linear warmup. Of `N` steps and `W` of warmup, step `s` (from 1) has, after the warmup,

    wsd           1, then over the last `decay_ratio N` steps down to `final_ratio` (Hu et al., 2024, arXiv:2404.06395)
    constant      1
    linear        from 1 down to `final_ratio` at step N
    cosine        the same along half a cosine (Loshchilov and Hutter, 2017, arXiv:1608.03983)
    inverse_sqrt  sqrt(W / s), W at least 1 (Vaswani et al., 2017, arXiv:1706.03762)
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, Tag

from headwater.core.config import Section, Whole
from headwater.train.choice import by_name

Fall = Literal["linear", "sqrt", "cosine"]


class Warmup(Section):
    """What every schedule begins with.

    Attributes:
        warmup_steps: Steps of linear warmup.
    """

    warmup_steps: Whole = Field(default=20, ge=0)


class Wsd(Warmup):
    """Warmup, stable, decay.

    Attributes:
        decay_ratio: Share of all steps, at the end, in which the learning rate falls.
        decay: Shape of the fall.
        final_ratio: Learning rate at the end, as a share of the peak.
    """

    name: Literal["wsd"] = Field(default="wsd", exclude_if=lambda name: name == "wsd")
    decay_ratio: float = Field(default=0.3, ge=0, le=1)
    decay: Fall = "linear"
    final_ratio: float = Field(default=0.05, ge=0, le=1)


class Constant(Warmup):
    """The peak to the end."""

    name: Literal["constant"]


class Linear(Warmup):
    """A straight fall from the peak.

    Attributes:
        final_ratio: Learning rate at the end, as a share of the peak.
    """

    name: Literal["linear"]
    final_ratio: float = Field(default=0.05, ge=0, le=1)


class Cosine(Warmup):
    """Half a cosine from the peak.

    Attributes:
        final_ratio: Learning rate at the end, as a share of the peak.
    """

    name: Literal["cosine"]
    final_ratio: float = Field(default=0.1, ge=0, le=1)


class InverseSqrt(Warmup):
    """A fall that knows no end, so that the run can go on for any number of steps."""

    name: Literal["inverse_sqrt"]


Schedule = Annotated[
    Annotated[Wsd, Tag("wsd")]
    | Annotated[Constant, Tag("constant")]
    | Annotated[Linear, Tag("linear")]
    | Annotated[Cosine, Tag("cosine")]
    | Annotated[InverseSqrt, Tag("inverse_sqrt")],
    by_name("schedule", "wsd", "constant", "linear", "cosine", "inverse_sqrt"),
]


def share_of_peak(schedule: Schedule, step: int, steps: int) -> float:
    """The learning rate of a step as a share of the peak.

    Args:
        schedule: The section.
        step: From 1.
        steps: In all.
    """
    warmup = min(schedule.warmup_steps, steps)
    if step <= warmup:
        return step / warmup
    if isinstance(schedule, Constant):
        return 1.0
    if isinstance(schedule, InverseSqrt):
        return math.sqrt(max(warmup, 1) / step)
    if isinstance(schedule, Wsd):
        falling = min(round(steps * schedule.decay_ratio), steps - warmup)
        stable = steps + 1 - falling  # as torchtitan has it: step N is one before the end of the fall
        if step <= stable:
            return 1.0
        share = _fallen(schedule.decay, (step - stable) / falling)
    else:
        share = _fallen("linear" if isinstance(schedule, Linear) else "cosine", (step - warmup) / (steps - warmup))
    return schedule.final_ratio + (1 - schedule.final_ratio) * share


def _fallen(shape: Fall, progress: float) -> float:
    if shape == "linear":
        return 1 - progress
    if shape == "sqrt":
        return 1 - math.sqrt(progress)
    return 0.5 * (1.0 + math.cos(math.pi * progress))
