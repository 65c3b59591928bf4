"""Which source each sample of a stretch comes from: blocks of one pattern, in which every source has a fixed quota.

Legend: S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]


class Blocks:
    """A stretch of samples in blocks, each with the same pattern of sources.

    Args:
        start: The first sample.
        before: How many samples each source gave before it, shape [sources].
        weights: Weight of each source, 0 for one that gives nothing; shape [sources].
        block: Samples in a block; at least as many as there are sources that give something.

    Attributes:
        quota: How many samples of every block each source gives, shape [sources].
    """

    def __init__(self, start: int, before: I64, weights: Sequence[float], block: int) -> None:
        self.start, self.before, self.block = start, before, block
        giving = np.flatnonzero(np.asarray(weights) > 0)
        quota = quotas([weights[index] for index in giving.tolist()], block)
        self.quota = np.zeros(len(weights), dtype=np.int64)
        self.quota[giving] = quota
        self._pattern = giving[_spread(tuple(quota.tolist()))].astype(np.int64)  # position in block -> source
        self._rank = np.zeros(block, dtype=np.int64)  # position in block -> how many of that source before it
        self._positions: list[I64] = []  # source -> positions in the block
        for index in range(len(weights)):
            positions = np.flatnonzero(self._pattern == index).astype(np.int64)
            self._rank[positions] = np.arange(len(positions))
            self._positions.append(positions)

    def draw(self, indices: I64) -> tuple[I64, I64]:
        """The source of each sample (shape [S], numbers of the whole run), and which sample of that source it is."""
        block, position = np.divmod(indices - self.start, self.block)
        source = self._pattern[position]
        return source, self.before[source] + block * self.quota[source] + self._rank[position]

    def index_of(self, source: int, nth: I64) -> I64:
        """The inverse: numbers of the samples that are the `nth` (shape [S]) of a source that gives something."""
        block, rank = np.divmod(nth - self.before[source], self.quota[source])
        return self.start + block * self.block + self._positions[source][rank]

    def drawn(self, source: int, until: int) -> int:
        """How many samples below `until` the source gave, from the first of the run on."""
        whole, part = divmod(until - self.start, self.block)
        positions = self._positions[source]
        return int(self.before[source]) + whole * len(positions) + int(np.searchsorted(positions, part))


def quotas(weights: Sequence[float], block: int) -> I64:
    """Largest-remainder shares of a block, shape [weights]; every source gets at least one sample."""
    exact = np.array(weights, dtype=np.float64) / float(np.sum(weights)) * block
    quota = np.maximum(1, np.floor(exact).astype(np.int64))
    while quota.sum() < block:
        quota[int(np.argmax(exact - quota))] += 1
    while quota.sum() > block:
        spare = np.where(quota > 1, exact - quota, np.inf)
        quota[int(np.argmin(spare))] -= 1
    return quota


@lru_cache(maxsize=1024)  # a re-weighted run has many stages, which are laid out again when one more begins
def _spread(quotas_of_block: tuple[int, ...]) -> I64:
    """A block in which each source's samples are spread evenly: at every prefix within one sample of its share.

    Tijdeman's chairman assignment ("The chairman assignment problem", Discrete Mathematics 32, 1980): at each
    position, among the sources that may take it without running ahead, take the one whose deadline is nearest.
    """
    quota = np.array(quotas_of_block, dtype=np.int64)
    block = int(quota.sum())
    share = quota / block
    given = np.zeros(len(quota), dtype=np.int64)
    pattern = np.empty(block, dtype=np.int64)
    slack = 1.0 - 1.0 / (2 * (len(quota) - 1)) if len(quota) > 1 else 0.0
    for position in range(block):
        eligible = given + 1 <= share * (position + 1) + slack + 1e-9
        deadline = np.where(eligible, (given + slack) / share, np.inf)
        chosen = int(np.argmin(deadline))
        pattern[position] = chosen
        given[chosen] += 1
    return pattern
