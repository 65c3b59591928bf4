"""lm-eval's own code tasks, with their programs in the sandbox.

HumanEval, MBPP and their kin fetch the metric `code_eval` of the package `evaluate`, which runs generated programs in
the calling process's tree. While tasks are loaded, that name gives the sandbox's metric: definitions need no copy. The
package itself, which takes half a second to import, is left alone until a task wants something else of it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
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


class _StandIn(ModuleType):
    """Takes the place of `evaluate` until something but the sandbox's metric is asked of it: then that is imported."""

    def __init__(self) -> None:
        super().__init__("evaluate")
        self.__spec__ = ModuleSpec("evaluate", None)  # for those who ask whether there is such a package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # which is asked for by who imports a module inside it
            raise AttributeError(name)
        return getattr(_real(), name)

    @staticmethod
    def load(path: str, *rest: Any, **given: Any) -> Any:
        """The sandbox's metric, or what `evaluate` has by that name."""
        return CODE_EVAL if path == "code_eval" else _real().load(path, *rest, **given)


def _real() -> Any:
    if isinstance(sys.modules.get("evaluate"), _StandIn):
        del sys.modules["evaluate"]
    real = importlib.import_module("evaluate")
    if CODE_EVAL.loading:
        _watch(real)
    return real


def _watch(real: Any) -> None:
    """Makes the package's own `load` give the sandbox's metric, until the block of `sandboxed_code_eval` ends."""
    inner = real.load
    if hasattr(inner, "inner"):
        return

    def load(path: str, *rest: Any, **given: Any) -> Any:
        return CODE_EVAL if path == "code_eval" else inner(path, *rest, **given)

    load.inner = inner  # pyright: ignore[reportFunctionMemberAccess]
    real.load = load


@contextmanager
def sandboxed_code_eval() -> Generator[None]:
    """While the block runs, `evaluate.load("code_eval")` gives the sandbox's metric."""
    CODE_EVAL.loading = True
    if "evaluate" in sys.modules:
        _watch(sys.modules["evaluate"])
    else:
        sys.modules["evaluate"] = _StandIn()
    try:
        yield
    finally:
        CODE_EVAL.loading = False
        found: Any = sys.modules.get("evaluate")
        if isinstance(found, _StandIn):
            del sys.modules["evaluate"]
        elif found is not None:
            found.load = getattr(found.load, "inner", found.load)


def uses_sandbox(function: Any) -> bool:
    """Whether a metric of one of lm-eval's modules runs programs by the sandbox's metric."""
    function = getattr(function, "__self__", function)
    return any(value is CODE_EVAL for value in getattr(function, "__globals__", {}).values())
