"""Linear and logarithmic axes with round ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Maps `low..high` of the data to `start..stop` in pixels; with `log`, all three are above 0."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
            return self.start + share * (self.stop - self.start)
        span = self.high - self.low
        return self.start + (value - self.low) / (span or 1.0) * (self.stop - self.start)


def round_step(span: float, count: int) -> float:
    """The 1, 2 or 5 × 10ⁿ step that cuts `span` into at most about `count` intervals."""
    raw = span / max(1, count)
    if not math.isfinite(raw) or raw <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    for factor in (1.0, 2.0, 5.0, 10.0):
        if raw <= factor * power * (1 + 1e-9):
            return factor * power
    return 10.0 * power


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values inside `low..high`."""
    step = round_step(high - low, count)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def bounds(values: list[float], *, zero: bool = False, pad: float = 0.06) -> tuple[float, float]:
    """The range to draw for finite values, padded; `zero` puts the baseline at 0."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    if zero:
        low = min(0.0, low)
    if high == low:
        margin = abs(high) * 0.1 or 1.0
        return (low if zero and low == 0.0 else low - margin), high + margin
    margin = (high - low) * pad
    return (low if zero and low == 0.0 else low - margin), high + margin


def log_bounds(values: list[float], *, pad: float = 0.06) -> tuple[float, float]:
    """As `bounds`, for a logarithmic axis; values that are not above 0 have no place on one."""
    low, high = bounds([math.log(value) for value in values if value > 0 and math.isfinite(value)], pad=pad)
    return math.exp(low), math.exp(high)


def log_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values inside `low..high`, about evenly spaced on a logarithmic axis."""
    for factors in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        stride = 1 if len(factors) > 1 else max(1, round((last - first) / count))
        found = [f * 10.0**power for power in range(first, last + 1, stride) for f in factors]
        inside = [value for value in found if low <= value <= high]
        if len(inside) >= min(3, count):
            return inside
    return ticks(low, high, count)
