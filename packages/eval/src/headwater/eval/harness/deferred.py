"""Libraries that lm-eval imports at its top, and that most runs never use."""

from __future__ import annotations

import sys
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """A library that runs when something is first asked of it.

    `importlib.util.LazyLoader` is of no use for that: a second `import` looks at `__spec__`, and the library runs.
    """

    def __getattr__(self, name: str) -> Any:
        if name == "__version__":
            return version(self.__name__)
        if name.startswith("__") and name != "__path__":  # which is asked for by who imports a module inside it
            raise AttributeError(name)
        _run(self)
        return getattr(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("__"):
            _run(self)
        super().__setattr__(name, value)


def defer(name: str) -> None:
    """Puts off what a library does when it is imported, unless it was imported before or is not there."""
    if name in sys.modules or (spec := find_spec(name)) is None:
        return
    module = module_from_spec(spec)
    vars(module).pop("__path__", None)
    module.__class__ = _Deferred
    sys.modules[name] = module


def _run(module: ModuleType) -> None:
    spec = module.__spec__
    assert spec is not None and spec.loader is not None
    module.__class__ = ModuleType
    if spec.submodule_search_locations is not None:
        module.__path__ = spec.submodule_search_locations
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(module.__name__, None)  # as by any import that fails
        raise
