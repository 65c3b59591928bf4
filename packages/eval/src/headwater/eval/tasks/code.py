"""pass@k for generated functions (Chen et al. 2021, "Evaluating Large Language Models Trained on Code", section 2.1).

lm-eval's own humaneval task fetches its metric from the network when it is imported, and that metric runs generated
code in the calling process tree. These functions take its place and run every program in the sandbox.
"""

from collections.abc import Sequence
from math import comb
from typing import Any

from headwater.core.errors import EvalError
from headwater.eval.sandbox import Availability, availability, sandbox

# The processor limit decides, so that a busy machine does not turn a right answer into a wrong one.
CPU_SECONDS = 5
WALL_SECONDS = 30.0


def code_tasks_available() -> Availability:
    """Whether tasks that run generated code may run here, and why not."""
    return availability()


def build_predictions(resps: list[list[str]], docs: list[dict[str, Any]]) -> list[list[str]]:
    """Puts each problem's prompt before what was generated for it (an lm-eval filter)."""
    return [[doc["prompt"] + answer for answer in answers] for answers, doc in zip(resps, docs, strict=True)]


def pass_at_k(
    references: Sequence[str], predictions: Sequence[Sequence[str]], k: int | Sequence[int] = 1
) -> dict[str, float]:
    """The share of problems that at least one of k programs solves, estimated without bias from all programs given.

    Args:
        references: For each problem, the tests that are run after the program.
        predictions: For each problem, complete programs.
        k: One number of programs, or several.

    Returns:
        "pass@k" → mean over the problems, for every k.

    Raises:
        EvalError: There is no working sandbox; nothing was run.
    """
    if not (found := code_tasks_available()).ok:
        raise EvalError("generated code runs in a sandbox only, and there is none", found=found.reason)
    wanted = [k] if isinstance(k, int) else list(k)
    counts: list[tuple[int, int]] = []
    for tests, programs in zip(references, predictions, strict=True):
        counts.append((len(programs), sum(solves(program, tests) for program in programs)))
    return {f"pass@{n}": sum(_estimate(total, right, n) for total, right in counts) / len(counts) for n in wanted}


def solves(program: str, tests: str) -> bool:
    """Whether a program passes its tests in the sandbox."""
    return sandbox().run_python(f"{program}\n{tests}", timeout_seconds=WALL_SECONDS, cpu_seconds=CPU_SECONDS).passed


def _estimate(total: int, right: int, k: int) -> float:
    """1 - C(total - right, k) / C(total, k): equation 1 of the paper."""
    if k > total:
        raise EvalError(f"pass@{k} needs at least {k} programs for each problem", found=total, expected=k)
    return 1.0 - comb(total - right, k) / comb(total, k)
