"""The samples of each step: sizes, sums and the way back agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import ConfigError
from headwater.core.ramp import RampStage, StepSamples, planned_samples

stages = st.lists(st.builds(RampStage, batch=st.integers(1, 9), steps=st.integers(1, 5)), max_size=4)


@given(stages, st.integers(1, 9), st.integers(1, 30))
def test_every_position_is_read_by_the_step_that_its_samples_say(ramp: list[RampStage], batch: int, steps: int) -> None:
    samples = StepSamples(batch, ramp)
    sizes = [stage.batch for stage in ramp for _ in range(stage.steps)] + [batch] * steps
    read_by = [step for step, size in enumerate(sizes, start=1) for _ in range(size)]
    assert [samples.size(step) for step in range(1, len(sizes) + 1)] == sizes
    assert [samples.consumed(step) for step in range(len(sizes) + 1)] == [sum(sizes[:n]) for n in range(len(sizes) + 1)]
    assert [samples.step_of(position) for position in range(len(read_by))] == read_by


def test_a_plan_is_read_without_the_train_package() -> None:
    plan = {"steps": 10, "global_batch": 8, "batch_ramp": [{"batch": 2, "steps": 3}, {"batch": 4, "steps": 2}]}
    assert planned_samples(plan) == 3 * 2 + 2 * 4 + 5 * 8
    assert planned_samples({"steps": 10, "global_batch": 8}) == 80
    assert planned_samples({"steps": 10}) is None
    with pytest.raises(ConfigError, match=r"train\.batch_ramp\.0\.steps"):
        planned_samples({"steps": 10, "global_batch": 8, "batch_ramp": [{"batch": 2, "steps": 0}]})
