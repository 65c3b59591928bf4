"""lm-eval's own code tasks, with their programs in the sandbox.

HumanEval, MBPP and their kin fetch the metric `code_eval` of the package `evaluate`, which runs generated programs in
the calling process's tree. While tasks are loaded, that name gives the sandbox's metric: definitions need no copy.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from headwater.eval.tasks.code import code_tasks_available, pass_at_k


class SandboxedCodeEval:
    """Takes the place of `evaluate.load("code_eval")`."""

    def __init__(self) -> None:
        self.loading = False

    def compute(
        self, references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int] = (1, 10, 100), **_: Any
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """pass@k, and nothing about the single programs.

        lm-eval's modules try the metric when they are imported; without a sandbox that gives nothing, and the task is
        refused afterwards.
        """
        if self.loading and not code_tasks_available().ok:
            return {f"pass@{each}": 0.0 for each in k}, {}
        most = min(len(programs) for programs in predictions)
        return pass_at_k(references, predictions, [each for each in k if each <= most]), {}


CODE_EVAL = SandboxedCodeEval()


@contextmanager
def sandboxed_code_eval() -> Generator[None]:
    """While the block runs, `evaluate.load("code_eval")` gives the sandbox's metric."""
    import evaluate

    inner = evaluate.load

    def load(path: str, *rest: Any, **given: Any) -> Any:
        return CODE_EVAL if path == "code_eval" else inner(path, *rest, **given)

    evaluate.load = load
    CODE_EVAL.loading = True
    try:
        yield
    finally:
        evaluate.load = inner
        CODE_EVAL.loading = False


def uses_sandbox(function: Any) -> bool:
    """Whether a metric of one of lm-eval's modules runs programs by the sandbox's metric."""
    function = getattr(function, "__self__", function)
    return any(value is CODE_EVAL for value in getattr(function, "__globals__", {}).values())
