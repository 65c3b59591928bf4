"""Which sources of a run hold conversations: those whose operators begin with `conversation`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def conversation_sources(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of sources of instruction data.

    Args:
        config: As the manifest of the documents records it.
    """
    sources: Mapping[str, Any] = config.get("sources", {})
    return tuple(name for name, steps in sorted(sources.items()) if steps and "conversation" in steps[0])
