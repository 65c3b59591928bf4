"""Where generated code runs: inside a bubblewrap sandbox, else one of Landlock and a system call filter, or not at all.

There is no setting for it. A backend is taken when it has run programs that try to get out, and they did not.
"""

from collections.abc import Iterable
from functools import lru_cache

from headwater.core.errors import EvalError
from headwater.eval.sandbox.bubblewrap import Bubblewrap
from headwater.eval.sandbox.landlock import Landlock
from headwater.eval.sandbox.runner import Availability, Outcome, Sandbox

__all__ = [
    "Availability", "Bubblewrap", "Landlock", "Outcome", "Sandbox", "availability", "choose", "sandbox",
    "sandbox_problem",
]  # fmt: skip


def choose(backends: Iterable[Sandbox]) -> tuple[Sandbox | None, Availability]:
    """The first backend whose probe succeeds; when none does, the reasons of all of them."""
    reasons: list[str] = []
    for backend in backends:
        if (found := backend.probe()).ok:
            return backend, found
        reasons.append(f"{backend.name}: {found.reason}")
    return None, Availability(False, "; or ".join(reasons))


@lru_cache(maxsize=1)
def _chosen() -> tuple[Sandbox | None, Availability]:
    return choose([Bubblewrap(), Landlock()])


def availability() -> Availability:
    """Whether generated code can run here, and in which sandbox, found out by running some. Asked once a process."""
    return _chosen()[1]


def sandbox() -> Sandbox:
    """The sandbox that generated code runs in here.

    Raises:
        EvalError: There is none.
    """
    chosen, found = _chosen()
    if chosen is None:
        raise EvalError("generated code runs in a sandbox only, and there is none", found=found.reason)
    return chosen


def sandbox_problem() -> str | None:
    """Why generated code cannot run here, with what to do; None when it can."""
    found = availability()
    return None if found.ok else found.reason
