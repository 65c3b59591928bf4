"""What others do, for the table of `headwater train guard-bench`. Written from their documentation and papers."""

from __future__ import annotations

import math
from collections import deque
from statistics import median


class MeanSigma:
    """OLMo's step skipping: a loss above the mean plus six standard deviations of the last 128."""

    def __init__(self, sigmas: float = 6.0, window: int = 128) -> None:
        self._sigmas, self._recent = sigmas, deque[float](maxlen=window)

    def alarms(self, loss: float) -> bool:
        """Takes the loss of a step; says whether it is a spike."""
        recent, over = self._recent, False
        if len(recent) >= (recent.maxlen or 0) // 2:
            mean = sum(recent) / len(recent)
            deviation = math.sqrt(sum([(value - mean) ** 2 for value in recent]) / len(recent))
            over = loss > mean + self._sigmas * deviation
        recent.append(loss)
        return over


class MedianDeviation:
    """A loss above the median of the last 128 by eight median absolute deviations, times 1.4826 as for normal noise."""

    def __init__(self, deviations: float = 8.0, window: int = 128) -> None:
        self._deviations, self._recent = deviations, deque[float](maxlen=window)

    def alarms(self, loss: float) -> bool:
        """Takes the loss of a step; says whether it is a spike."""
        recent, over = self._recent, False
        if len(recent) >= (recent.maxlen or 0) // 2:
            middle = median(recent)
            scale = 1.4826 * median([abs(value - middle) for value in recent])
            over = loss > middle + self._deviations * scale
        recent.append(loss)
        return over


class RobustCusum:
    """Page's CUSUM on the robust z-score over the last 256, cut to −5 and 8, with k = 1 and h = 12."""

    def __init__(self, window: int = 256, allowance: float = 1.0, threshold: float = 12.0) -> None:
        self._recent, self._sum = deque[float](maxlen=window), 0.0
        self._allowance, self._threshold = allowance, threshold

    def alarms(self, loss: float) -> bool:
        """Takes the loss of a step; says whether it is a spike."""
        recent, over = self._recent, False
        if len(recent) == recent.maxlen:
            middle = median(recent)
            scale = 1.4826 * median([abs(value - middle) for value in recent])
            score = min(max((loss - middle) / max(scale, 1e-9), -5.0), 8.0)
            self._sum = max(0.0, self._sum + score - self._allowance)
            over = self._sum > self._threshold
            self._sum = 0.0 if over else self._sum
        recent.append(loss)
        return over


class TwiceTheMean:
    """llm-foundry's loss spike: a loss of at least twice the mean of the last 100. (It waits for several; this does
    not, which only finds more.)
    """

    def __init__(self, factor: float = 2.0, window: int = 100) -> None:
        self._factor, self._recent = factor, deque[float](maxlen=window)

    def alarms(self, loss: float) -> bool:
        """Takes the loss of a step; says whether it is a spike."""
        recent = self._recent
        over = len(recent) == recent.maxlen and loss >= self._factor * sum(recent) / len(recent)
        recent.append(loss)
        return over
