"""How well scores tell two kinds of documents apart, and which threshold does what."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

_KEEP = (0.99, 0.95, 0.9, 0.75, 0.5)


def auc(positive: F64, negative: F64) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative; equal scores count half.

    Args:
        positive: Scores of one kind, shape [positives], not empty.
        negative: Scores of the other kind, shape [negatives], not empty.
    """
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left") + np.searchsorted(ordered, positive, side="right")
    return float(below.sum() / (2 * len(positive) * len(negative)))


def at_threshold(positive: F64, negative: F64, threshold: float) -> dict[str, float]:
    """What a filter that keeps scores of at least `threshold` does.

    Returns:
        threshold; recall (share of positives kept); precision (share of positives among what is kept, with both kinds
        weighed equally, so that it does not depend on how many of each were held out); removed (share of negatives
        removed).
    """
    kept, wrong = float(np.mean(positive >= threshold)), float(np.mean(negative >= threshold))
    precision = kept / (kept + wrong) if kept + wrong else 0.0
    return {"threshold": float(threshold), "recall": kept, "precision": precision, "removed": 1 - wrong}


def separation(positive: F64, negative: F64) -> dict[str, Any]:
    """The AUC, the threshold with the best F1, and thresholds that keep given shares of the positives."""
    ordered = np.sort(positive)
    # The highest score that still keeps a share: rounded down to four decimals, as operators round scores.
    keeping = [np.floor(ordered[int((1 - share) * len(ordered))] * 1e4) / 1e4 for share in _KEEP]
    rows = [at_threshold(positive, negative, threshold) for threshold in keeping]
    candidates = np.unique(np.concatenate([positive, negative]))
    candidates = candidates[:: max(1, len(candidates) // 1000)]
    best = max((at_threshold(positive, negative, t) for t in candidates.tolist()), key=_f1)
    return {
        "positives": len(positive), "negatives": len(negative), "auc": round(auc(positive, negative), 6),
        "best_f1": {**_rounded(best), "f1": round(_f1(best), 6)}, "thresholds": [_rounded(row) for row in rows],
    }  # fmt: skip


def _f1(row: dict[str, float]) -> float:
    both = row["precision"] + row["recall"]
    return 2 * row["precision"] * row["recall"] / both if both else 0.0


def _rounded(row: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in row.items()}


def percentiles(values: F64) -> dict[str, float]:
    """Percentiles of a set of figures, to choose a threshold by."""
    return {str(p): round(float(np.percentile(values, p)), 4) for p in (1, 5, 10, 25, 50, 75, 90, 95, 99)}
