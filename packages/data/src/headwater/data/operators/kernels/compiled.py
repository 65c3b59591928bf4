"""How kernels are compiled: by numba, once for all processes that can share a cache folder.

The cache lies beside the sources, or in the user's cache folder where the installation is read-only (NUMBA_CACHE_DIR
names another). Where nothing can be written each process compiles for itself.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache

_DAMAGED = (EOFError, ValueError, pickle.UnpicklingError)
_UNREADABLE = (OSError, *_DAMAGED)
Function = TypeVar("Function", bound=Callable[..., Any])


class KernelCache(FunctionCache):
    """A function's compiled versions, looked up by the sources of all kernels.

    numba looks only at the file of the function itself, so that a change in a function that it calls, which is compiled
    into it, would go unseen.
    """

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return super()._index_key(sig, codegen), sources_digest()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled before, or None; also for a file that cannot be read."""
        try:
            return super().load_overload(sig, target_context)
        except _UNREADABLE:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keeps what was compiled; a full disk costs time, not the job."""
        try:
            try:
                super().save_overload(sig, data)
            except _DAMAGED:
                self.flush()
                super().save_overload(sig, data)
        except OSError:
            return


def compiled(function: Function) -> Function:
    """Compiles a function on its first call with each set of argument types."""
    dispatcher: Any = numba.njit(nogil=True)(function)
    try:
        dispatcher._cache = KernelCache(function)  # what njit(cache=True) does, with another cache
    except RuntimeError:  # numba found no folder that it may write to
        return dispatcher
    return dispatcher


@lru_cache(maxsize=1)
def sources_digest() -> str:
    """Changes when any kernel's source does."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
