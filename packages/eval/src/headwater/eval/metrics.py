"""Scores as metrics of `core.metrics`."""

from __future__ import annotations

from headwater.core import metrics as names
from headwater.eval.notes import headline
from headwater.eval.results import Results


def series_of(results: Results) -> dict[str, float]:
    """The headline scores of an evaluation, with their standard errors, by series."""
    found: dict[str, float] = {}
    if results.checkpoint.step is not None:
        found[names.EVAL_STEP.name] = float(results.checkpoint.step)
    for score in headline(results.tasks, results.asked):
        better = "unknown" if score.higher_is_better is None else "higher" if score.higher_is_better else "lower"
        labels = {"task": score.task, "metric": score.metric, "better": better}
        found[names.EVAL_SCORE.series(**labels)] = score.value
        if score.stderr is not None:
            found[names.EVAL_STDERR.series(**labels)] = score.stderr
    if results.bits_per_byte is not None:
        found[names.EVAL_BITS_PER_BYTE.name] = results.bits_per_byte.model
    return found
