"""One-step outlier: a value far above the ones before it, by a robust z-score.

The level is the median of the last `near` values, which follows a falling loss closely. The scale is the median
absolute deviation of the last `window` residuals from their own levels, times 1.4826, which makes it the standard
deviation of normal noise (Hampel, "The influence curve and its role in robust estimation", JASA 69, 1974). Half of the
values can be wild without moving either by much; a mean and a standard deviation are moved by the first spike, and hide
the second.

    limit = level + max(z × scale, rise)

A limit is given two steps ahead: the limit of step t follows from the values up to t − 2. So it is known on the host
when step t is sent to the device, though the value of t − 1 has not come back from there yet.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import Any

_NORMAL = 1.4826
"""Standard deviation over median absolute deviation, of a normal distribution."""


class Outlier:
    """Watches for a single value that is far too high.

    Args:
        z: Standard deviations above the level.
        rise: Smallest rise that counts, in the values' unit.
        near: Values that give the level.
        window: Residuals that give the scale.
        warm: Values before the first limit.
    """

    def __init__(
        self, *, z: float = 8.0, rise: float = 0.05, near: int = 32, window: int = 128, warm: int = 64
    ) -> None:
        self.z, self.rise, self.near, self.warm = z, rise, near, warm
        self._recent: deque[float] = deque(maxlen=near)
        self._residuals: deque[float] = deque(maxlen=window)
        self._limits = (math.inf, math.inf)

    def limit(self, ahead: int) -> float:
        """The limit of a step to come.

        Args:
            ahead: 0 for the step after the last value, 1 for the one after that.
        """
        return self._limits[ahead]

    def observe(self, value: float) -> bool:
        """Takes the value of a step that belongs to the run; finite. Says whether it is above its limit."""
        over = value > self._limits[0]
        if self._recent:
            self._residuals.append(value - median(self._recent))
        self._recent.append(value)
        self._limits = (self._limits[1], self._next())
        return over

    def pass_over(self) -> None:
        """Takes a step whose value does not belong to the run, for it was skipped: the limits stay."""
        self._limits = (self._limits[1], self._limits[1])

    def forget(self) -> None:
        """Begins anew. The limit of the next step stays, for that one may have been sent already."""
        self._recent.clear()
        self._residuals.clear()
        self._limits = (self._limits[0], math.inf)

    def _next(self) -> float:
        if len(self._residuals) < self.warm:
            return math.inf
        centre = median(self._residuals)
        scale = _NORMAL * median([abs(residual - centre) for residual in self._residuals])
        return median(self._recent) + max(self.z * scale, self.rise)

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON values; a limit that there is not yet is null."""
        limits = [limit if limit < math.inf else None for limit in self._limits]
        return {"recent": list(self._recent), "residuals": list(self._residuals), "limits": limits}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state."""
        self._recent = deque(state["recent"], maxlen=self._recent.maxlen)
        self._residuals = deque(state["residuals"], maxlen=self._residuals.maxlen)
        first, second = (math.inf if limit is None else float(limit) for limit in state["limits"])
        self._limits = (first, second)
