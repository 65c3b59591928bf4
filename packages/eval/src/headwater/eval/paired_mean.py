"""Whether the mean of paired differences is below zero, its interval, and what loss would have been found.

Two one-sided tests, of which the less convinced counts:

- The sign-flip permutation test (Fisher 1935, The Design of Experiments, section 21). Were the two models alike, each
  difference would as well have had the other sign, so its level is exact for any number of items and any distribution.
  Inverted, its interval lies between means of subsets of the items (Hartigan 1969, Journal of the American Statistical
  Association 64:1303). Up to 13 items all subsets are taken, beyond that 9,999 or more are drawn, and the empty one is
  counted (Phipson and Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9:39).
- Student's t with its skewness removed (Hall 1992, Journal of the Royal Statistical Society B 54:221). Models with many
  small losses and few large gains between them may have equal means without being alike; signs alone would then call
  one worse too often. The skewness is the sample's plus its standard error (Joanes and Gill 1998, The Statistician
  47:183), since a few items show less of it than there is.

No test of a mean keeps its level for all distributions (Bahadur and Savage 1956, Annals of Mathematical Statistics
27:1115): differences that are nearly all alike but for very rare ones deceive this one too.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

_ALL_SUBSETS = 13  # items up to which there are fewer subsets than would be drawn
_DRAWN, _MOST_DRAWN = 10_000, 1_000_000
_AT_ONCE = 4_000_000  # bytes of subsets drawn at once, eight items each


class PairedMean(NamedTuple):
    """What the differences say of their mean.

    Attributes:
        low, high: Ends of the interval.
        p_worse: Probability of a mean as low, were the two models alike.
        detectable: The smallest loss that would have been found with the asked power.
    """

    low: float
    high: float
    p_worse: float
    detectable: float


def fewest(level: float) -> int:
    """So many differences at least can be significant at a level: were the models alike, all of fewer would be losses
    with a higher probability than that.
    """
    return math.ceil(-math.log2(level) - 1e-9)


def paired_mean(difference: F64, level: float, power: float, seed: int = 0) -> PairedMean:
    """Tests the mean of the differences, one-sided; the interval has probability 1 - 2 · level.

    Args:
        difference: A value for each item; at least `fewest(level)`, and 3.
        level: Of the one-sided test.
        power: Of the detectable loss.
        seed: Of the subsets that are drawn.
    """
    scale = float(np.abs(difference).max()) or 1.0  # a cube of what is very small or large is no number
    difference = difference / scale
    flipped = _SignFlips(difference, level, seed)
    mean, error = float(difference.mean()), float(difference.std(ddof=1)) / math.sqrt(len(difference))
    if error <= 1e-12 * abs(mean):  # all differences are equal: only their sign can be tested
        return PairedMean(mean * scale, mean * scale, flipped.p_worse, 0.0)
    below, above = _Skewed(difference), _Skewed(-difference)
    bound = below.bound(level)
    return PairedMean(
        low=scale * min(flipped.low, mean + error * above.bound(level)),
        high=scale * max(flipped.high, mean - error * bound),
        p_worse=max(flipped.p_worse, below.probability(mean / error)),
        detectable=scale * error * (max(-bound, below.student(1 - level)) + below.likely(power)),
    )


class _SignFlips:
    """The test by signs: flipping those of a subset raises the sum by as much as the subset's is below zero, twice."""

    def __init__(self, difference: F64, level: float, seed: int) -> None:
        sums, sizes = _subsets(difference, level, seed)
        # Sums that are equal but for the order in which they were added count as equal.
        slack = 1e-12 * float(np.abs(difference).sum())
        self.p_worse = float((sums >= -slack).mean())
        filled = sizes > 0
        means = np.sort(sums[filled] / sizes[filled])
        # A mean of all items is refused when at most this share of the subsets, the empty ones too, is above it.
        place = int(level * len(sums) + 1e-9) - int((~filled).sum()) + 1
        self.low, self.high = -math.inf, math.inf
        if place >= 1:
            self.low, self.high = float(means[place - 1]), float(means[-place])


def _subsets(difference: F64, level: float, seed: int) -> tuple[F64, npt.NDArray[np.int64]]:
    """The sums of subsets, the empty one first, and how many items they have."""
    count = len(difference)
    if count <= _ALL_SUBSETS:
        every = np.arange(2**count, dtype="<u2").view(np.uint8).reshape(-1, 2)
        return _sums(difference, every)
    generator = np.random.default_rng(seed)
    columns = -(-count // 8)
    left = min(max(_DRAWN, math.ceil(10 / level)), _MOST_DRAWN) - 1
    found = [(np.zeros(1), np.zeros(1, np.int64))]
    while left:
        rows = max(1, min(left, _AT_ONCE // columns))
        drawn = np.frombuffer(generator.bytes(rows * columns), np.uint8).reshape(rows, columns).copy()
        drawn[:, -1] &= 0xFF >> (8 * columns - count)
        found.append(_sums(difference, drawn))
        left -= rows
    sums, sizes = zip(*found, strict=True)
    return np.concatenate(sums), np.concatenate(sizes)


def _sums(difference: F64, subsets: npt.NDArray[np.uint8]) -> tuple[F64, npt.NDArray[np.int64]]:
    """The sums and sizes of subsets, each a row of bytes with a bit an item.

    What the eight items of a byte add up to is looked up, of its 256 values: no bit is looked at alone.
    """
    padded = np.zeros(8 * subsets.shape[1])
    padded[: len(difference)] = difference
    values = (np.arange(256)[:, None] >> np.arange(8)) & 1
    sums = np.zeros(len(subsets))
    for eight, column in zip(padded.reshape(-1, 8), subsets.T, strict=True):
        sums += (values @ eight)[column]
    return sums, np.bitwise_count(subsets).sum(1, dtype=np.int64)


class _Skewed:
    """Student's t of skewed values, by Hall's transformation of it, which is close to that of values that are not."""

    def __init__(self, values: F64) -> None:
        count = len(values)
        centred = values - values.mean()
        own = float((centred**3).mean() / (centred**2).mean() ** 1.5) * math.sqrt(count * (count - 1)) / (count - 2)
        error = math.sqrt(6 * count * (count - 1) / ((count - 2) * (count + 1) * (count + 3)))
        self._freedom = count - 1
        self._own, self._careful = (skewness / math.sqrt(count) for skewness in (own, own + error))

    def probability(self, t: float) -> float:
        """Of a t as low."""
        from scipy.special import stdtr

        a = self._careful
        return float(stdtr(self._freedom, t + a * t * t / 3 + a * a * t**3 / 27 + a / 6))

    def bound(self, level: float) -> float:
        """The t of that probability."""
        return _untransformed(self.student(level), self._careful)

    def likely(self, share: float) -> float:
        """The t that is not exceeded in such a share of samples."""
        return _untransformed(self.student(share), self._own)

    def student(self, share: float) -> float:
        """The same were the values not skewed."""
        from scipy.special import stdtrit

        return float(stdtrit(self._freedom, share))


def _untransformed(value: float, a: float) -> float:
    if abs(a) < 1e-9:
        return value
    return 3 / a * (math.cbrt(1 + a * (value - a / 6)) - 1)
