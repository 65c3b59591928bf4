"""A folder that a command works in."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from headwater.core.errors import ConfigError


@contextmanager
def scratch(out: Path | None) -> Generator[Path]:
    """A folder to work in: the one that is named, which must be empty or new, or one that is deleted again."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="headwater-") as folder:
            yield Path(folder)
        return
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty", hint="name a folder that does not exist yet")
    out.mkdir(parents=True, exist_ok=True)
    yield out
