"""Confidence intervals for scores."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple


class Interval(NamedTuple):
    """A two-sided confidence interval: its ends, and how it was computed (`wilson` or `normal`)."""

    low: float
    high: float
    method: str

    def contains(self, value: float) -> bool:
        """Whether `value` lies in the interval, ends included (to within rounding)."""
        return self.low - 1e-12 <= value <= self.high + 1e-12


def wilson(successes: float, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion (Wilson 1927, JASA 22:209).

    Unlike `p ± z·se` it stays inside [0, 1] and keeps its width at 0 and at 1, where small models live.

    Args:
        successes: Number of items answered right, 0 to `n`.
        n: Number of items, at least 1.
        level: Confidence level, between 0 and 1.
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 and at n the end is exact; rounding would otherwise put it a hair inside.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(low, high, "wilson")


def normal(value: float, stderr: float, level: float = 0.95) -> Interval:
    """`value ± z·stderr`, for means that are not proportions."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    return Interval(value - z * stderr, value + z * stderr, "normal")


def stderr_of_mean(values: Sequence[float]) -> float | None:
    """Sample standard deviation over √n; None for fewer than two values."""
    n = len(values)
    if n < 2:
        return None
    mean = math.fsum(values) / n
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)


def interval_of_mean(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Wilson when every value is 0 or 1, otherwise normal; None when there are too few values to say."""
    if not values:
        return None
    if all(v in (0.0, 1.0) for v in values):
        return wilson(math.fsum(values), len(values), level)
    stderr = stderr_of_mean(values)
    return None if stderr is None else normal(math.fsum(values) / len(values), stderr, level)
