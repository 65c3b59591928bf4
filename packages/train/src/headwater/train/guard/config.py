"""The recipe's `train.guard` section: what the loss guard watches for, and what it does about it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from headwater.core.config import Section, Whole


def _off(value: object) -> object:
    return "off" if value is False else value  # YAML reads the word as that


_WORD = BeforeValidator(_off)


class OutlierPolicy(Section):
    """A loss that is far too high for one step.

    Attributes:
        respond: off; report it; or skip the update.
        z: Robust standard deviations above the level.
    """

    respond: Annotated[Literal["off", "report", "skip"], _WORD] = "skip"
    z: float = Field(default=8.0, ge=1, le=1000)


class GradientPolicy(Section):
    """A gradient norm that is far too high for one step.

    Attributes:
        respond: off; report it; or skip the update.
        z: Robust standard deviations of its logarithm above the level.
        ratio: At least so many times the level.
    """

    respond: Annotated[Literal["off", "report", "skip"], _WORD] = "skip"
    z: float = Field(default=8.0, ge=1, le=1000)
    ratio: float = Field(default=3.0, gt=1, le=1e6)


class DivergencePolicy(Section):
    """A loss that rises and stays.

    Attributes:
        respond: off; report it; lower the learning rate; roll back; or halt.
        threshold: Of the CUSUM, in standard deviations.
        rise: Smallest rise that counts, nats.
    """

    respond: Annotated[Literal["off", "report", "lower", "rollback", "halt"], _WORD] = "rollback"
    threshold: float = Field(default=8.0, ge=1, le=1000)
    rise: float = Field(default=0.02, ge=0, le=100)


class Rollback(Section):
    """Going back to a checkpoint and leaving out the samples that did it.

    Attributes:
        margin_steps: So many steps before the onset and after the alarm are left out too.
        at_most: Rollbacks in a row, each within `within_steps` of the one before; one more halts the run.
        within_steps: See there.
    """

    margin_steps: Whole = Field(default=16, ge=0)
    at_most: Whole = Field(default=3, ge=1)
    within_steps: Whole = Field(default=1000, ge=1)


class Lower(Section):
    """Lowering the learning rate.

    Attributes:
        factor: What it is multiplied by, each time; 1 leaves it.
        steps: For so many steps; 0: for good.
        after_rollbacks: A rollback lowers it too when so many in a row came before it.
    """

    factor: float = Field(default=0.5, gt=0, le=1)
    steps: Whole = Field(default=0, ge=0)
    after_rollbacks: Whole = Field(default=1, ge=0)


class Stall(Section):
    """No step for too long.

    Attributes:
        respond: off; report it; or exit, with a code on which launchers start the run again: as often as it comes
            (75) if a checkpoint was written since the run began or went on, else a few times (69).
        seconds: Without a step, a validation batch or a checkpoint.
    """

    respond: Annotated[Literal["off", "report", "exit"], _WORD] = "report"
    seconds: float = Field(default=600.0, gt=0, le=1e7)


class GuardConfig(Section):
    """The `train.guard` section of a recipe.

    Attributes:
        nonfinite: What is done when loss or gradient norm are NaN or infinite; the update is never applied.
        skips: When more than so many of the last 64 steps were skipped, skipping does not help: roll back.
    """

    nonfinite: Literal["skip", "rollback", "halt"] = "skip"
    outlier: OutlierPolicy = OutlierPolicy()
    gradient: GradientPolicy = GradientPolicy()
    divergence: DivergencePolicy = DivergencePolicy()
    skips: int = Field(default=16, ge=1, le=63)
    rollback: Rollback = Rollback()
    learning_rate: Lower = Lower()
    stall: Stall = Stall()
