"""The detectors of the loss guard, each by itself."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from headwater.train.guard.divergence import Divergence
from headwater.train.guard.gradient import Explosion
from headwater.train.guard.outlier import Outlier


def noise(steps: int, seed: int = 0, deviation: float = 0.1) -> list[float]:
    return (3 + deviation * np.random.default_rng(seed).standard_normal(steps)).tolist()


def alarms(detector: Divergence, losses: list[float]) -> list[tuple[int, int]]:
    """Step of each alarm, and the step at which it says that it began."""
    found = [(step, detector.observe(loss)) for step, loss in enumerate(losses)]
    return [(step, step - began) for step, began in found if began is not None]


def test_a_lasting_rise_alarms_and_its_onset_is_found():
    losses = noise(600)
    losses[400:] = [loss + 0.3 for loss in losses[400:]]
    (step, onset), *_ = alarms(Divergence(), losses)
    assert 400 < step < 420 and 395 <= onset <= 403


def test_one_bad_batch_cannot_alarm_however_bad():
    for height in (1.0, 1e3, 1e30):
        losses = noise(600)
        losses[300] += height
        assert alarms(Divergence(), losses) == []


def test_the_sum_does_not_depend_on_the_distribution_of_the_losses():
    """Ranks are the same under any increasing function; so are the alarms."""
    losses = noise(3000, seed=5)
    losses[2000:] = [loss + 0.15 for loss in losses[2000:]]
    plain = alarms(Divergence(rise=0.0), losses)
    assert plain
    assert alarms(Divergence(rise=0.0), [math.exp(9 * loss) for loss in losses]) == plain


def test_a_rise_that_is_too_small_to_matter_does_not_alarm():
    losses = noise(2000, deviation=1e-4)
    losses[1000:] = [loss + 0.015 for loss in losses[1000:]]
    assert alarms(Divergence(), losses) == []
    assert alarms(Divergence(rise=0.0), losses) != []


def test_a_falling_loss_does_not_alarm():
    falling = [3 + 6 / math.sqrt(step + 1) for step in range(3000)]
    assert alarms(Divergence(), [level + extra - 3 for level, extra in zip(falling, noise(3000), strict=True)]) == []


def test_outlier_limits_are_known_two_steps_ahead():
    outlier, limits, losses = Outlier(), [], noise(300)
    for loss in losses:
        limits.append(outlier.limit(1))  # of the step after this one, before this one's value is known
        outlier.observe(loss)
    outlier = Outlier()
    for step, loss in enumerate(losses):
        if step:
            assert outlier.limit(0) == limits[step - 1]
        outlier.observe(loss)
    assert limits[70] < math.inf and limits[10] == math.inf


def test_an_outlier_is_seen_and_a_second_one_is_not_hidden_by_the_first():
    outlier, losses = Outlier(), noise(400)
    losses[300] += 5.0
    losses[310] += 1.2
    assert [step for step, loss in enumerate(losses) if outlier.observe(loss)] == [300, 310]


def test_a_step_that_was_passed_over_leaves_the_limits():
    outlier = Outlier()
    for loss in noise(300):
        outlier.observe(loss)
    limit = outlier.limit(1)
    for _ in range(50):
        outlier.pass_over()
    assert outlier.limit(0) == outlier.limit(1) == limit


def test_a_gradient_norm_must_be_far_and_several_times_the_level():
    norms = np.exp(0.02 * np.random.default_rng(0).standard_normal(400))
    explosion = Explosion()
    for norm in norms:
        assert not explosion.observe(float(norm))
    assert explosion.limit(0) == pytest.approx(3.0, rel=0.05)
    assert explosion.observe(3.3)
    assert not Explosion().observe(0.0)  # a gradient of nothing is no explosion


@pytest.mark.parametrize("make", [Divergence, Outlier, Explosion])
def test_a_detector_goes_on_from_its_state(make: Callable[[], Divergence | Outlier | Explosion]):
    losses = noise(500, seed=3)
    losses[350:] = [loss + 0.4 for loss in losses[350:]]
    whole = make()
    answers = [whole.observe(loss) for loss in losses]
    for cut in (0, 5, 64, 130, 352):
        first = make()
        for loss in losses[:cut]:
            first.observe(loss)
        second = make()
        second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
        assert [second.observe(loss) for loss in losses[cut:]] == answers[cut:]
        assert second.state_dict() == whole.state_dict()


def test_memory_is_bounded_by_the_window():
    size = {len(json.dumps(detector.state_dict())) for detector in (run_for(2000), run_for(20_000))}
    assert max(size) < 1.2 * min(size)


def run_for(steps: int) -> Divergence:
    detector = Divergence()
    for loss in noise(steps):
        detector.observe(loss)
    return detector
