"""Gradient explosion: a gradient norm far above the ones before it.

The norm of a healthy run varies by factors, not by amounts, and its noise is skewed; its logarithm is watched by the
robust z-score of `outlier`. Both must hold: so many standard deviations, and at least `ratio` times the level. The norm
is the one before clipping.
"""

from __future__ import annotations

import math

from headwater.train.guard.outlier import Outlier

_LEAST = 1e-30


class Explosion(Outlier):
    """Watches for a single gradient norm that is far too high.

    Args:
        z: Standard deviations of the logarithm above its level.
        ratio: Smallest ratio to the level that counts.
    """

    def __init__(self, *, z: float = 8.0, ratio: float = 3.0) -> None:
        super().__init__(z=z, rise=math.log(ratio))

    def limit(self, ahead: int) -> float:
        """The limit of a step to come, as a norm."""
        limit = super().limit(ahead)
        return math.exp(limit) if limit < 700 else math.inf

    def observe(self, value: float) -> bool:
        """Takes the norm of a step that belongs to the run; finite. Says whether it is above its limit."""
        return super().observe(math.log(max(value, _LEAST)))
