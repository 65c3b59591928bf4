"""Whether torchao is there, which is an extra."""

from __future__ import annotations

import importlib

from headwater.core.errors import ConfigError


def require_torchao(what: str, extra: str) -> None:
    """Imports torchao.

    Args:
        what: What needs it, as a recipe has it.
        extra: The extra of this package that brings it.

    Raises:
        ConfigError: It is not installed, or does not load here.
    """
    try:
        importlib.import_module("torchao")
    except (ImportError, OSError) as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "torchao"
        raise ConfigError(
            f"{what} needs torchao, which {'is not installed' if missing else 'does not load'}", found=error,
            hint=f"pip install 'headwater-train[{extra}]'",
        ) from error  # fmt: skip
