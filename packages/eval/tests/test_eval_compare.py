"""The statistics of the gate: against known values, and against simulations of what they promise."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from headwater.eval.compare import compare, detectable_share, holm, mcnemar, power, tango
from headwater.eval.paired_mean import fewest


def test_mcnemar_is_the_one_sided_binomial_test():
    for gained, lost in ((0, 0), (3, 9), (9, 3), (20, 31), (0, 4)):
        expected = binomtest(lost, gained + lost, alternative="greater").pvalue if gained + lost else 1.0
        assert mcnemar(gained, lost) == pytest.approx(expected)


def test_tango_has_its_published_ends():
    # One gain and seven losses among 21: Fagerland, Lydersen and Laake 2014, Statistics in Medicine 33:2850.
    assert tango(1, 7, 21, 0.025) == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_tango_is_symmetric_and_holds_the_estimate():
    low, high = tango(12, 2, 44, 0.025)
    assert low < 10 / 44 < high
    mirrored = tango(2, 12, 44, 0.025)
    assert (-mirrored[1], -mirrored[0]) == pytest.approx((low, high), abs=1e-6)
    assert tango(0, 0, 50, 0.025)[0] == pytest.approx(-tango(0, 0, 50, 0.025)[1])
    assert tango(5, 0, 5, 0.025)[1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("items", "gain", "loss"), [(100, 0.1, 0.1), (200, 0.05, 0.1), (400, 0.2, 0.15)])
def test_the_interval_holds_the_truth_as_often_as_it_says(items, gain, loss):
    rng = np.random.default_rng(3)
    drawn = rng.multinomial(items, [gain, loss, 1 - gain - loss], 1500)
    ends = [tango(int(g), int(b), items, 0.05) for g, b, _ in drawn]
    held = np.mean([low <= gain - loss <= high for low, high in ends])
    assert 0.88 <= held <= 0.935


@pytest.mark.parametrize(("items", "differing"), [(164, 0.3), (400, 0.2), (1319, 0.1)])
def test_power_and_false_alarms_are_what_is_stated(items, differing):
    rng = np.random.default_rng(4)
    loss = detectable_share(items, differing, 0.05)
    assert power(items, loss, differing, 0.05) == pytest.approx(0.8, abs=0.02)

    def found(true_loss):
        shares = [(differing - true_loss) / 2, (differing + true_loss) / 2, 1 - differing]
        return np.mean([mcnemar(int(g), int(b)) <= 0.05 for g, b, _ in rng.multinomial(items, shares, 1500)])

    assert found(loss) == pytest.approx(0.8, abs=0.04)
    assert found(0.0) <= 0.065


def test_a_loss_larger_than_what_differs_makes_more_differ():
    assert detectable_share(20, 0.01, 0.05) > 0.01
    assert detectable_share(2, 0.5, 0.01) == 1.0


@pytest.mark.parametrize("change", [-0.5, 0.0, 0.5])
def test_a_few_items_decide_nothing(change):
    for items in (1, 2, 4):
        found = compare([2.0] * items, [2.0 + change] * items, level=0.05)
        assert (found.low, found.high, found.p_worse, found.detectable) == (None, None, 1.0, None)
    enough = compare([2.0] * 5, [2.0 + change] * 5, level=0.05)
    assert enough.low == enough.high == change and enough.p_worse == (1 / 32 if change < 0 else 1.0)
    assert [fewest(level) for level in (0.5, 0.25, 0.05, 0.005)] == [1, 2, 5, 8]


def test_the_sign_of_the_effect_is_the_candidates():
    accuracy = compare([1, 1, 0, 0, 1], [1, 0, 0, 0, 0], level=0.05)
    assert (accuracy.test, accuracy.gained, accuracy.lost, accuracy.effect) == ("mcnemar", 0, 2, -0.4)
    assert accuracy.p_worse == 0.25 and accuracy.low < -0.4 < accuracy.high
    bits = compare([2.0, 3.0, 2.5] * 2, [1.0, 2.0, 1.5] * 2, level=0.05, higher_is_better=False)
    assert (bits.test, bits.effect, bits.gained) == ("permutation", 1.0, None)
    assert bits.low <= 1.0 <= bits.high and math.isfinite(bits.detectable)
    with pytest.raises(ValueError, match="not the same items"):
        compare([1], [1, 0], level=0.05)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []
