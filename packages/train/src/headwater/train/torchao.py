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
        ConfigError: It is not installed.
    """
    try:
        importlib.import_module("torchao")
    except ImportError as error:
        raise ConfigError(
            f"{what} needs torchao, which is not installed", found=error,
            hint=f"pip install 'headwater-train[{extra}]'",
        ) from error  # fmt: skip
