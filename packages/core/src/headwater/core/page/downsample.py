"""Fewer points for the same picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = Sequence[float] | NDArray[np.float64] | NDArray[np.int64]


def extremes(xs: Values, ys: Values, limit: int) -> tuple[list[float], list[float]]:
    """Keeps the lowest and the highest point of each of `limit / 2` buckets, and the first and the last of all.

    Averages would hide a one-step spike; the extremes of each bucket never do (the two of the four points of M4 that
    matter there; Jugel et al., 2014, VLDB 7:10). Non-finite values are dropped (they are shown as events).

    Args:
        xs: Places, ascending.
        ys: Values, as many.
        limit: About how many points are kept at most.
    """
    x, y = _finite(xs, ys)
    if len(y) <= limit:
        return x.tolist(), y.tolist()
    rows = max(1, limit // 2)
    starts = np.arange(rows) * _wide(len(y), rows)
    starts = starts[starts < len(y)]
    lows = starts + _buckets(y, rows, np.inf).argmin(axis=1)[: len(starts)]
    highs = starts + _buckets(y, rows, -np.inf).argmax(axis=1)[: len(starts)]
    kept = np.unique(np.concatenate([[0], lows, highs, [len(y) - 1]]))
    return x[kept].tolist(), y[kept].tolist()


def means(xs: Values, ys: Values, limit: int) -> tuple[list[float], list[float]]:
    """The mean place and value of each of `limit` buckets, without the non-finite values."""
    x, y = _finite(xs, ys)
    if not len(y):
        return [], []
    starts = np.arange(0, len(y), _wide(len(y), limit))
    counts = np.diff([*starts.tolist(), len(y)])
    return (np.add.reduceat(x, starts) / counts).tolist(), (np.add.reduceat(y, starts) / counts).tolist()


def _finite(xs: Values, ys: Values) -> tuple[NDArray[Any], NDArray[np.float64]]:
    x, y = np.asarray(xs), np.asarray(ys, np.float64)
    if len(x) != len(y):
        raise ValueError(f"{len(x)} places for {len(y)} values")
    finite = np.isfinite(y)
    return (x, y) if finite.all() else (x[finite], y[finite])


def _wide(length: int, rows: int) -> int:
    return max(1, -(-length // rows))


def _buckets(y: NDArray[np.float64], rows: int, filling: float) -> NDArray[np.float64]:
    """One row a bucket; the end of the last ones is filled."""
    filled = np.full(rows * _wide(len(y), rows), filling)
    filled[: len(y)] = y
    return filled.reshape(rows, -1)
