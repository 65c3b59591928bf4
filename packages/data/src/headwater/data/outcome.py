"""What a stage function returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headwater.core.manifest import Manifest


@dataclass(frozen=True)
class Outcome:
    """How a stage ended.

    Attributes:
        manifest: Of the artifact.
        fresh: False when the artifact was up to date already.
        result: What was counted.
    """

    manifest: Manifest
    fresh: bool
    result: dict[str, Any]
