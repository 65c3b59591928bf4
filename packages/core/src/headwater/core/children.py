"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent() -> Callable[[], object] | None:
    """For `subprocess.Popen(preexec_fn=…)`: asks the kernel for SIGTERM when the parent is gone (on Linux; else none).

    The parent may be killed in a way that it cannot pass on.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # found before the fork
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
