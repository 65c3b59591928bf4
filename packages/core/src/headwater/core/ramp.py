"""Which samples a step reads: the same number in every step, or fewer in the first ones (a ramp-up of the batch size).

Small batches first cost less at equal loss while the gradient's noise is small beside the gradient (McCandlish et al.,
2018, arXiv:1812.06162; Brown et al., 2020, arXiv:2005.14165, ramped up so). Step `s` (from 1) is the positions
`[consumed(s - 1), consumed(s))` of the order, so the order itself knows nothing of steps, and `step_of` inverts it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Annotated, Any, cast

from pydantic import Field

from headwater.core.config import Section, Whole, validate
from headwater.core.errors import ConfigError


class RampStage(Section):
    """Steps with a batch of their own, before those of `global_batch`.

    Attributes:
        batch: Samples in each of them.
        steps: How many.
    """

    batch: Whole = Field(ge=1)
    steps: Whole = Field(ge=1)


Ramp = Annotated[tuple[RampStage, ...], Field(max_length=1000)]


@dataclass(frozen=True)
class StepSamples:
    """The samples of each step.

    Attributes:
        global_batch: Samples in a step after the ramp.
        ramp: The stages before it, in order.
    """

    global_batch: int
    ramp: Sequence[RampStage] = ()

    @cached_property
    def _steps(self) -> list[int]:
        """Steps before each stage, the last of them being that of `global_batch`."""
        return [0, *accumulate(stage.steps for stage in self.ramp)]

    @cached_property
    def _samples(self) -> list[int]:
        return [0, *accumulate(stage.steps * stage.batch for stage in self.ramp)]

    def _batch(self, stage: int) -> int:
        return self.ramp[stage].batch if stage < len(self.ramp) else self.global_batch

    def size(self, step: int) -> int:
        """Samples in a step, from 1."""
        return self._batch(bisect_right(self._steps, step - 1) - 1)

    def consumed(self, step: int) -> int:
        """Samples in the first so many steps."""
        stage = bisect_right(self._steps, step) - 1
        return self._samples[stage] + (step - self._steps[stage]) * self._batch(stage)

    def step_of(self, position: int) -> int:
        """The step, from 1, that reads a position."""
        stage = bisect_right(self._samples, position) - 1
        return self._steps[stage] + (position - self._samples[stage]) // self._batch(stage) + 1


def planned_samples(train: Mapping[str, Any]) -> int | None:
    """Samples of a whole training by its section of a recipe, read without the train package; none if it does not say.

    Raises:
        ConfigError: The ramp is not valid.
    """
    steps, batch = train.get("steps"), train.get("global_batch")
    if not isinstance(steps, int) or not isinstance(batch, int):
        return None
    return step_samples_of(train, batch).consumed(steps)


def step_samples_of(train: Mapping[str, Any], global_batch: int) -> StepSamples:
    """The samples of each step by the `train` section of a recipe.

    Raises:
        ConfigError: The ramp is not valid.
    """
    ramp: Any = train.get("batch_ramp") or ()
    if not isinstance(ramp, list | tuple):
        raise ConfigError("train.batch_ramp is not a list", found=ramp, expected="[{batch: 4, steps: 100}, …]")
    given = cast("Sequence[object]", ramp)
    stages = [validate(RampStage, stage, f"train.batch_ramp.{place}") for place, stage in enumerate(given)]
    return StepSamples(global_batch, tuple(stages))
