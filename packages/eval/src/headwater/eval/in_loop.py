"""Evaluation between training steps, on the training's processes (`eval.every`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headwater.core.config import load_section
from headwater.core.in_loop import Outcome
from headwater.core.layout import RunLayout
from headwater.eval.config import EvalConfig


class InLoopEval:
    """Evaluates the checkpoint of a step into `RUN/evals/step-…`: each process takes some of the tasks.

    Args:
        config: The `eval` section, with `every`.
    """

    name = "eval"

    def __init__(self, config: EvalConfig) -> None:
        assert config.every is not None
        self.config, self.every = config, config.every

    def begin(self, run: RunLayout, step: int) -> Any:
        """The work folder, or None when the step was evaluated before."""
        from headwater.eval.stage import open_eval

        return open_eval(run, self._of(step), output=run.eval_of(step))

    def share(self, run: RunLayout, step: int, begun: Any, rank: int, processes: int) -> None:
        """Runs every so-many-th task, beginning with this process's own."""
        from headwater.eval.stage import run_share

        run_share(run, self._of(step), Path(begun), rank, processes)

    def finish(self, run: RunLayout, step: int) -> Outcome:
        """Gathers the tasks and measures bits per byte; the headline scores."""
        from headwater.eval.metrics import series_of
        from headwater.eval.notes import headline
        from headwater.eval.stage import run_eval

        results = run_eval(run, self._of(step), output=run.eval_of(step)).results
        told: dict[str, Any] = {
            f"{score.task}/{score.metric}": score.value for score in headline(results.tasks, list(self.config.asked))
        }
        if results.bits_per_byte is not None:
            told["bits_per_byte"] = results.bits_per_byte.model
        return Outcome(told, series_of(results))

    def _of(self, step: int) -> EvalConfig:
        return self.config.model_copy(update={"checkpoint": str(step)})


def from_recipe(recipe: str | Path, overrides: Sequence[str]) -> InLoopEval | None:
    """What a recipe's `eval` section asks for during training."""
    config = load_section("eval", EvalConfig, recipe, overrides)
    return InLoopEval(config) if config.every is not None else None
