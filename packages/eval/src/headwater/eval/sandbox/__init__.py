"""Where generated code runs: inside a bubblewrap sandbox, or not at all."""

from functools import lru_cache

from headwater.eval.sandbox.bubblewrap import Availability, Outcome, Sandbox

__all__ = ["Availability", "Outcome", "Sandbox", "availability", "sandbox_problem"]


@lru_cache(maxsize=1)
def availability() -> Availability:
    """Whether generated code can run here, found out by running some. Asked once a process."""
    return Sandbox().probe()


def sandbox_problem() -> str | None:
    """Why generated code cannot run here, with what to do; None when it can."""
    found = availability()
    return None if found.ok else found.reason
