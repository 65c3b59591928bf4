"""Comparing sorted sets of 64-bit numbers."""

from __future__ import annotations

from headwater.data.operators.kernels.compiled import compiled


@compiled
def shared(a, b):
    """How many numbers two sorted sets have in common."""
    i, j, count = 0, 0, 0
    while i < len(a) and j < len(b):  # without branches: which of the two is less cannot be foretold
        x, y = a[i], b[j]
        count += x == y
        i += x <= y
        j += y <= x
    return count


@compiled
def similarities(a, a_firsts, b, b_firsts, result):
    """Jaccard similarities of pairs of sets a[a_firsts[k]:a_firsts[k + 1]], b[…]; of two empty ones 0."""
    for k in range(len(result)):
        x, y = a[a_firsts[k] : a_firsts[k + 1]], b[b_firsts[k] : b_firsts[k + 1]]
        common = shared(x, y)
        union = len(x) + len(y) - common
        result[k] = common / union if union else 0.0
