"""Fewer points for the same picture."""

from __future__ import annotations

import math
from collections.abc import Sequence


def extremes(xs: Sequence[float], ys: Sequence[float], limit: int) -> tuple[list[float], list[float]]:
    """Keeps the lowest and the highest point of each of `limit / 2` buckets.

    Averages would hide a one-step spike; the extremes of each bucket never do. Non-finite values are dropped (they
    are shown as events), the first and the last point are always kept.
    """
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
    if len(points) <= limit:
        return [x for x, _ in points], [y for _, y in points]
    buckets = max(1, limit // 2)
    kept = {0, len(points) - 1}
    for bucket in range(buckets):
        start, stop = bucket * len(points) // buckets, (bucket + 1) * len(points) // buckets
        window = range(start, stop)
        kept.add(min(window, key=lambda i: points[i][1]))
        kept.add(max(window, key=lambda i: points[i][1]))
    chosen = [points[i] for i in sorted(kept)]
    return [x for x, _ in chosen], [y for _, y in chosen]
