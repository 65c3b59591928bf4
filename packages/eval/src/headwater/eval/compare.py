"""Two models on the same items: how much they differ, how sure that is, and what difference could have been seen.

Right and wrong answers are compared by McNemar's exact test (1947, Psychometrika 12:153) with Tango's score interval
(1998, Statistics in Medicine 17:891); other values by a permutation test of the mean of the paired differences that
allows for their skewness (`paired_mean`). Tests are one-sided: whether the candidate is worse. Several of them are
corrected by Holm's method (1979, Scandinavian Journal of Statistics 6:65).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from headwater.eval.paired_mean import fewest, paired_mean

POWER = 0.8
"""The detectable effect is the one that is found with this probability."""


@dataclass(frozen=True)
class Comparison:
    """One metric on the same items of two models.

    Attributes:
        items: How many there are.
        baseline, candidate: The means.
        effect: How much better the candidate is; negative when it is worse, whatever the metric's direction.
        low, high: Ends of the interval of the effect; none when there are too few items to say anything.
        p_worse: Probability of an effect as bad or worse, were the two alike.
        detectable: The smallest loss that would have been found with probability `POWER`; none when none would.
        differing: Share of items that the two answer differently.
        gained, lost: Items that only the candidate, or only the baseline, has right; none for other values.
        test: `mcnemar` or `permutation`.
    """

    items: int
    baseline: float
    candidate: float
    effect: float
    low: float | None
    high: float | None
    p_worse: float
    detectable: float | None
    differing: float
    gained: int | None
    lost: int | None
    test: str


def compare(
    baseline: Sequence[float], candidate: Sequence[float], *, level: float, higher_is_better: bool = True, seed: int = 0
) -> Comparison:
    """Compares two models on the same items.

    Args:
        baseline: A value for each item; at least one.
        candidate: The other model's, in the same order.
        level: Of the one-sided test: the interval has probability 1 - 2 · level.
        higher_is_better: Direction of the metric.
        seed: Of the subsets that are drawn.
    """
    base, cand = np.asarray(baseline, np.float64), np.asarray(candidate, np.float64)
    if len(base) != len(cand) or not len(base):
        raise ValueError(f"{len(base)} and {len(cand)} values: not the same items")
    difference = (cand - base) if higher_is_better else (base - cand)
    common = {
        "items": len(base), "baseline": float(base.mean()), "candidate": float(cand.mean()),
        "effect": float(difference.mean()), "differing": float((difference != 0).mean()),
    }  # fmt: skip
    if np.isin(base, (0.0, 1.0)).all() and np.isin(cand, (0.0, 1.0)).all():
        gained, lost = int((difference > 0).sum()), int((difference < 0).sum())
        low, high = tango(gained, lost, len(base), level)
        return Comparison(
            **common, low=low, high=high, p_worse=mcnemar(gained, lost), gained=gained, lost=lost, test="mcnemar",
            detectable=detectable_share(len(base), (gained + lost + 1) / (len(base) + 2), level),
        )  # fmt: skip
    values = {"low": None, "high": None, "p_worse": 1.0, "detectable": None}
    if len(difference) >= max(3, fewest(level)):
        found = paired_mean(difference, level, POWER, seed)
        if math.isfinite(found.low) and math.isfinite(found.high):
            values = found._asdict()
    return Comparison(**common, **values, gained=None, lost=None, test="permutation")


def mcnemar(gained: int, lost: int) -> float:
    """The probability of at least so many losses among the items that differ, were gains as likely."""
    from scipy.stats import binom

    return float(binom.sf(lost - 1, gained + lost, 0.5)) if gained + lost else 1.0


def tango(gained: int, lost: int, items: int, level: float) -> tuple[float, float]:
    """The score interval of the difference of two paired proportions, with probability 1 - 2 · level."""
    from scipy.optimize import brentq

    def score(delta: float) -> float:
        # The share of losses that is likeliest when the difference is delta.
        b = -gained - lost + (2 * items - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        share = (math.sqrt(max(b * b - 8 * items * c, 0.0)) - b) / (4 * items)
        variance = items * (2 * share + delta * (1 - delta))
        distance = gained - lost - items * delta
        return 0.0 if not distance else distance / math.sqrt(max(variance, 1e-12))

    z, middle = _z(level), (gained - lost) / items
    edge = 1 - 1e-9
    low: Any = brentq(lambda d: score(d) - z, -edge, middle) if score(-edge) > z else -1.0
    high: Any = brentq(lambda d: score(d) + z, middle, edge) if score(edge) < -z else 1.0
    return float(low), float(high)


@lru_cache(maxsize=1024)
def detectable_share(items: int, differing: float, level: float) -> float:
    """The smallest loss that McNemar's exact test finds with probability `POWER`, as a share of the items.

    Args:
        items: How many there are.
        differing: Share of items that the two models answer differently; it grows with a loss that is larger.
        level: Of the one-sided test.
    """
    if power(items, 1.0, differing, level) < POWER:
        return 1.0
    low, high = 0.0, 1.0
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (low, middle) if power(items, middle, differing, level) >= POWER else (middle, high)
    return high


def power(items: int, loss: float, differing: float, level: float) -> float:
    """The probability that McNemar's exact test finds a loss of so many items, as a share of them."""
    from scipy.stats import binom

    differing = min(1.0, max(differing, loss))
    middle, spread = items * differing, math.sqrt(items * differing * (1 - differing))
    counts = np.arange(max(1, int(middle - 6 * spread)), min(items, int(middle + 6 * spread) + 1) + 1)
    # The fewest losses among so many differing items that are significant.
    needed = binom.isf(level, counts, 0.5) + 1
    return float((binom.pmf(counts, items, differing) * binom.sf(needed - 1, counts, (1 + loss / differing) / 2)).sum())


def holm(values: Sequence[float]) -> list[float]:
    """Probabilities corrected for their number, in their order."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, most = [0.0] * len(values), 0.0
    for place, index in enumerate(order):
        most = max(most, min(1.0, values[index] * (len(values) - place)))
        corrected[index] = most
    return corrected


@lru_cache(maxsize=64)
def _z(level: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(1 - level)
