"""The test of a mean of paired differences: exact where models are alike, and what it promises where they are not."""

from itertools import product

import numpy as np
import pytest

from headwater.eval.compare import compare
from headwater.eval.paired_mean import paired_mean


def test_signs_are_tested_by_all_of_their_flips():
    difference = np.array([-0.9, 0.2, -1.4, -0.1, 0.4, -0.3, -0.2])
    sums = [float(np.dot(signs, difference)) for signs in product((1, -1), repeat=7)]
    expected = np.mean([each <= difference.sum() + 1e-12 for each in sums])
    # Values that are not skewed are left to the signs: they are the less convinced of the two tests here.
    assert paired_mean(difference, 0.05, 0.8).p_worse == pytest.approx(expected)
    every_loss = paired_mean(-np.abs(difference), 0.05, 0.8)
    assert every_loss.p_worse >= 1 / 2**7


@pytest.mark.parametrize("level", [0.05, 0.01])
@pytest.mark.parametrize("items", [5, 8, 10])
def test_of_models_that_are_alike_no_more_are_called_worse_than_the_level(items, level):
    # Alike: whatever the sizes of the differences, all of their signs are as likely.
    sizes = np.random.default_rng(items).lognormal(0, 1.5, items)
    found = [paired_mean(sizes * signs, level, 0.8).p_worse for signs in product((1, -1), repeat=items)]
    assert np.mean([p <= level for p in found]) <= level


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("items", [6, 12, 60])
def test_skewed_differences_of_mean_zero_keep_level_and_interval(items, sign):
    rng = np.random.default_rng(items)
    found = [paired_mean(sign * (rng.exponential(1, items) - 1), 0.05, 0.8, k) for k in range(300)]
    # Of 300 trials at the level, more than 24 come in 1% of such tests.
    assert sum(each.p_worse <= 0.05 for each in found) <= 24
    assert np.mean([each.low <= 0 <= each.high for each in found]) >= 0.88


@pytest.mark.parametrize(("items", "skewed"), [(12, False), (60, False), (60, True)])
def test_a_detectable_loss_is_found_as_often_as_it_says(items, skewed):
    rng = np.random.default_rng(7)

    def drawn():
        return rng.exponential(1, items) - 1 if skewed else rng.normal(0, 1, items)

    loss = np.mean([paired_mean(drawn(), 0.05, 0.8).detectable for _ in range(100)])
    found = np.mean([paired_mean(drawn() - loss, 0.05, 0.8).p_worse <= 0.05 for _ in range(300)])
    assert 0.72 <= found <= 0.88


@pytest.mark.parametrize("items", [9, 40])
def test_the_interval_ends_where_the_test_turns(items):
    rng = np.random.default_rng(2)
    difference = rng.normal(-0.3, 1, items) + rng.exponential(1, items)
    found = paired_mean(difference, 0.05, 0.8)
    for value, end in ((difference, found.high), (-difference, -found.low)):
        assert paired_mean(value - end + 1e-6, 0.05, 0.8).p_worse > 0.05
        assert paired_mean(value - end - 1e-6, 0.05, 0.8).p_worse <= 0.05
    mirrored = paired_mean(-difference, 0.05, 0.8)
    assert (-mirrored.high, -mirrored.low) == pytest.approx((found.low, found.high), abs=0.02 if items > 13 else 1e-12)


def test_differences_that_are_all_equal():
    assert paired_mean(np.zeros(9), 0.05, 0.8) == (0.0, 0.0, 1.0, 0.0)
    assert paired_mean(np.full(9, -0.5), 0.05, 0.8) == (-0.5, -0.5, 0.5**9, 0.0)
    assert paired_mean(np.full(30, 0.1), 0.05, 0.8).p_worse == 1.0


def test_the_size_of_the_values_changes_nothing():
    difference = np.random.default_rng(3).normal(0, 1, 30)
    plain = paired_mean(difference, 0.05, 0.8)
    for scale in (1e-150, 1e-6, 1e90):
        scaled = paired_mean(difference * scale, 0.05, 0.8)
        assert scaled.p_worse == plain.p_worse and scaled.low / scale == pytest.approx(plain.low)


def test_a_level_that_no_number_of_subsets_reaches_decides_nothing():
    found = compare([2.0] * 40, np.linspace(2.5, 3, 40).tolist(), level=1e-9, higher_is_better=False)
    assert (found.low, found.high, found.p_worse, found.detectable) == (None, None, 1.0, None)
