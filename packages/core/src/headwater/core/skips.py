"""What a run leaves out: windows of the sample order that a rollback excluded, and the order without them.

A run consumes positions 0, 1, 2, … and position `p` is sample `index(p)` of the order: the p-th that lies in no window.
So the state to resume from is how many samples were consumed and this sorted list, which is nearly always empty; a step
is still a stretch of positions (`core.ramp`), and no other number changes when a window is added.

`Skips` maps positions to samples and back in O(log windows). `KeptOrder` puts that before a `core.order.Order`, so that
reading, tracing and verifying a run need not know of it.

Legend: P positions asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from headwater.core.errors import ManifestError
from headwater.core.order import Order, Sample, StageSpec

I64 = npt.NDArray[np.int64]
Window = tuple[int, int]


@dataclass(frozen=True)
class Skips:
    """Excluded samples.

    Attributes:
        windows: `[start, stop)` in sample numbers of the order; sorted, not empty, neither overlapping nor touching.

    Raises:
        ManifestError: The windows are not so.
    """

    windows: tuple[Window, ...] = ()

    def __post_init__(self) -> None:
        flat = [edge for window in self.windows for edge in window]
        if flat != sorted(set(flat)) or (flat and flat[0] < 0):
            raise ManifestError(
                "a list of excluded samples is not in order", found=list(self.windows),
                expected="windows [start, stop), ascending, that do not touch",
            )  # fmt: skip

    @classmethod
    def of(cls, windows: Iterable[Sequence[int]]) -> Skips:
        """From the form that JSON keeps: a list of pairs."""
        return cls(tuple((int(start), int(stop)) for start, stop in windows))

    def as_json(self) -> list[list[int]]:
        """The windows as a list of pairs."""
        return [list(window) for window in self.windows]

    def __len__(self) -> int:
        """How many samples are excluded."""
        return int(self._removed[-1])

    def including(self, start: int, stop: int) -> Skips:
        """These windows and `[start, stop)`, joined where they meet."""
        merged: list[Window] = []
        for first, last in sorted([*self.windows, (start, stop)]):
            if first >= last:
                continue
            if merged and first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        return Skips(tuple(merged))

    def index(self, position: int) -> int:
        """The sample that is consumed at a position."""
        return int(self.indices(np.array([position]))[0])

    def indices(self, positions: npt.ArrayLike) -> I64:
        """As `index`, for many positions, shape [P]."""
        asked = np.asarray(positions, dtype=np.int64)
        return asked + self._removed[np.searchsorted(self._openings, asked, side="right")]

    def before(self, index: int) -> int:
        """How many of the samples below `index` are consumed."""
        begun = int(np.searchsorted(self._starts, index, side="left"))
        ahead = max(0, self.windows[begun - 1][1] - index) if begun else 0
        return index - int(self._removed[begun]) + ahead

    def excludes(self, index: int) -> bool:
        """Whether a sample lies in a window."""
        begun = int(np.searchsorted(self._starts, index, side="right"))
        return begun > 0 and index < self.windows[begun - 1][1]

    def position(self, index: int) -> int | None:
        """Where a sample is consumed; none if it is excluded."""
        return None if self.excludes(index) else self.before(index)

    def reach(self, consumed: int) -> int:
        """One more than the last sample among the first `consumed` positions; 0 for none."""
        return self.index(consumed - 1) + 1 if consumed else 0

    @cached_property
    def _starts(self) -> I64:
        return np.array([start for start, _ in self.windows], dtype=np.int64)

    @cached_property
    def _removed(self) -> I64:
        """How many samples are excluded before and with each window, from none on; shape [windows + 1]."""
        return np.cumsum([0, *(stop - start for start, stop in self.windows)], dtype=np.int64)

    @cached_property
    def _openings(self) -> I64:
        """The first position that lies behind each window."""
        return self._starts - self._removed[:-1]


class KeptOrder:
    """The sample order of a run as it is consumed: an `Order` less the excluded samples.

    Its arguments are positions; the samples that it gives carry their number in the order.

    Args:
        order: The order.
        skips: What is left out of it.
    """

    def __init__(self, order: Order, skips: Skips) -> None:
        self.order, self.skips = order, skips
        self.sources, self.seq_len = order.sources, order.seq_len

    @property
    def stages(self) -> tuple[StageSpec, ...]:
        """The stages, with the samples of each that are consumed."""
        starts = [self.order.stage_start(number) for number in range(len(self.order.stages))]
        spans = [(start, start + stage.samples) for start, stage in zip(starts, self.order.stages, strict=True)]
        return tuple(
            replace(stage, samples=self.skips.before(stop) - self.skips.before(start))
            for stage, (start, stop) in zip(self.order.stages, spans, strict=True)
        )

    def stage_start(self, stage: int) -> int:
        """The first position of a stage."""
        return self.skips.before(self.order.stage_start(stage))

    def stage_at(self, position: int) -> int:
        """Number (from 0) of the stage that the sample at a position belongs to."""
        return self.order.stage_at(self.skips.index(position))

    def samples_per_epoch(self, source: str) -> int:
        """How many samples one pass over the source gives."""
        return self.order.samples_per_epoch(source)

    def locate(self, position: int) -> Sample:
        """Where the sample at a position comes from."""
        return self.order.locate(self.skips.index(position))

    def locate_many(self, positions: npt.ArrayLike) -> tuple[I64, I64, I64]:
        """Index into `order.sources`, epoch, and token offset of the samples at many positions; each of shape [P]."""
        return self.order.locate_many(self.skips.indices(positions))

    def invert(self, source: str, token_start: int, token_stop: int, until: int) -> list[int]:
        """The positions below `until` at which any of the source's tokens `[token_start, token_stop)` is read."""
        found = self.order.invert(source, token_start, token_stop, until=self.skips.reach(until))
        return [position for index in found if (position := self.skips.position(index)) is not None]

    def excluded(self, source: str, token_start: int, token_stop: int) -> int:
        """How many excluded samples hold any of the source's tokens `[token_start, token_stop)`."""
        until = self.skips.windows[-1][1] if self.skips.windows else 0
        return sum(map(self.skips.excludes, self.order.invert(source, token_start, token_stop, until)))

    def drawn(self, source: str, until: int) -> int:
        """How many of the samples at the first `until` positions come from the source."""
        reach = self.skips.reach(until)
        excluded = [window for window in self.skips.windows if window[0] < reach]
        left_out = sum(self.order.drawn(source, stop) - self.order.drawn(source, start) for start, stop in excluded)
        return self.order.drawn(source, reach) - left_out

    def digest(self, count: int) -> str:
        """As `Order.digest`, of the samples at the first `count` positions; the same where nothing is left out."""
        return self.order.digest(count, self.skips.indices)
