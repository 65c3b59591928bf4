"""Slow divergence: a CUSUM on sequential ranks of the loss.

Each loss is ranked among the `window` before it, and the rank is turned into a normal score. Under losses that are
exchangeable the scores are the same whatever the losses' distribution is, so the false alarms do not depend on the
noise of the run, on its outliers or on its units; a mean or a standard deviation has no part in it. With `a` of the `m`
losses before below the present one,

    u = (a + 1/2) / (m + 1)        z = Φ⁻¹(u)        S ← max(0, S + z − k)        alarm when S > h

S is Page's CUSUM (Page, "Continuous inspection schemes", Biometrika 41, 1954), which is the quickest test for a lasting
shift of 2k; ranks in it are McDonald's ("A CUSUM procedure based on sequential ranks", Naval Research Logistics 37,
1990). No score exceeds Φ⁻¹ of (m + 1/2) / (m + 1), 2.66 for a window of 128: one bad batch cannot alarm.

A rise that is too small to matter must not alarm either, however small the noise: `rise` nats are taken off the present
loss before it is ranked.

The onset is the step after the last one at which S was 0: the maximum likelihood estimate of the change point.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

_SCORE = NormalDist().inv_cdf


class Divergence:
    """Watches for a loss that rises and stays.

    Args:
        window: Losses that the present one is ranked among.
        rise: Smallest rise that counts, nats.
        allowance: k, in standard deviations: what each step may rise without adding up.
        threshold: h, in standard deviations.
        warm: Losses before the first is ranked.
    """

    def __init__(
        self, *, window: int = 128, rise: float = 0.02, allowance: float = 0.5, threshold: float = 8.0, warm: int = 64
    ) -> None:
        self.window, self.rise, self.allowance, self.threshold, self.warm = window, rise, allowance, threshold, warm
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []
        self.sum = 0.0
        self.rising = 0
        """Steps since the sum was last 0, this one included."""

    def observe(self, loss: float) -> int | None:
        """Takes the loss of a step.

        Args:
            loss: Finite.

        Returns:
            How many steps ago it began (0: with this one) when it alarms, which also starts the sum anew; else none.
        """
        began = None
        if len(self._recent) >= self.warm:
            self._add(_SCORE(self._share_below(loss - self.rise)))
            if self.sum > self.threshold:
                began = self.rising - 1
                self.sum, self.rising = 0.0, 0
        self._recent.append(loss)
        insort(self._sorted, loss)
        if len(self._recent) > self.window:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]
        return began

    def _share_below(self, value: float) -> float:
        below, upto = bisect_left(self._sorted, value), bisect_right(self._sorted, value)
        return ((below + upto) / 2 + 0.5) / (len(self._sorted) + 1)

    def _add(self, score: float) -> None:
        self.sum = max(0.0, self.sum + score - self.allowance)
        self.rising = self.rising + 1 if self.sum > 0 else 0

    def forget(self) -> None:
        """Begins anew."""
        self._recent.clear()
        self._sorted.clear()
        self.sum, self.rising = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {"recent": list(self._recent), "sum": self.sum, "rising": self.rising}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state."""
        self._recent = deque(state["recent"])
        self._sorted = sorted(self._recent)
        self.sum, self.rising = float(state["sum"]), int(state["rising"])
