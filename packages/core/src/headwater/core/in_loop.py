"""What another package does between training steps, with a checkpoint that was just written.

The trainer knows no other stage: it finds what there is to do by the entry point group `headwater.in_loop`. An entry
point is a function of a recipe and its overrides that returns an `InLoop`, or None when the recipe asks for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from headwater.core.layout import RunLayout

GROUP = "headwater.in_loop"


@dataclass(frozen=True)
class Outcome:
    """What work in the loop gave.

    Attributes:
        event: What is noted in the run's events.
        values: What the run's metric sinks get: series of `core.metrics` → value.
    """

    event: dict[str, Any]
    values: dict[str, float] = field(default_factory=dict[str, float])


class InLoop(Protocol):
    """Work on the checkpoint of a step, shared by the processes of a training, which waits meanwhile.

    Attributes:
        name: Section of the recipe that asks for it.
        every: Steps between two.
    """

    name: str
    every: int

    def begin(self, run: RunLayout, step: int) -> Any:
        """On the first process: what all of them need for their shares (picklable), or None when it was done before."""
        ...

    def share(self, run: RunLayout, step: int, begun: Any, rank: int, processes: int) -> None:
        """On every process: its share."""
        ...

    def finish(self, run: RunLayout, step: int) -> Outcome:
        """On the first process, when all shares are done, or were before: what it gave."""
        ...


def in_loop(recipe: str | Path, overrides: Sequence[str] = ()) -> list[InLoop]:
    """All that a recipe asks for, by name.

    Args:
        recipe: The recipe.
        overrides: Dotted overrides.

    Raises:
        ConfigError: The section that asks for it is wrong.
    """
    found = (point.load()(recipe, overrides) for point in sorted(entry_points(group=GROUP), key=lambda each: each.name))
    return [each for each in found if each is not None]
