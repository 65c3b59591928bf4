"""The sample order: sample `i` of a run is a pure function of (mixture, seed, i).

    i ──► (source, n-th sample of that source) ──► (epoch, slot) ──► token offset

* **Which source.** Samples come in blocks of `block` samples. Each source has a fixed quota in a block (largest
  remainder rounding of its weight), spread evenly over it, so that at every prefix each source is within one
  sample of its quota. The pattern is the same in every block.
* **Which slot.** A source of `T` tokens has `N = (T - 1) // seq_len` slots. Each epoch visits all `N` in a new
  order: a keyed Feistel permutation of `[0, N)` with cycle walking (Black and Rogaway, "Ciphers with arbitrary
  finite domains", CT-RSA 2002). It needs no table, so memory and start-up do not grow with the corpus.
* Every step of this has an inverse, so `invert` finds the samples that touch a document, and no log of samples
  has to be kept. The state to resume from is one integer: how many samples were consumed.

Legend: S samples asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from headwater.core.errors import ConfigError
from headwater.core.hashing import U64, mix64

I64 = npt.NDArray[np.int64]

DEFAULT_BLOCK = 1000
_ROUNDS = 6


@dataclass(frozen=True)
class SourceSpec:
    """One source of a mixture: its name, how many tokens it has, and its weight (positive; only ratios matter)."""

    name: str
    tokens: int
    weight: float


@dataclass(frozen=True)
class Sample:
    """Where sample `index` comes from.

    It covers tokens `[offset, offset + seq_len + 1)` of the source's training tokens: the first `seq_len` are the
    inputs, the last `seq_len` the labels.
    """

    index: int
    source: str
    epoch: int
    slot: int
    offset: int


class Order:
    """The order of samples of one run.

    Args:
        sources: The sources with their sizes and weights; their order does not matter.
        seq_len: Tokens in a sample.
        seed: Any integer.
        block: Samples in a block, over which the proportions are exact up to rounding.

    Raises:
        ConfigError: No source, one named twice or too small for one sample, a weight that is not positive and
            finite, or a seq_len below 1.
    """

    def __init__(self, sources: Sequence[SourceSpec], seq_len: int, seed: int, block: int = DEFAULT_BLOCK) -> None:
        if not sources:
            raise ConfigError("a mixture needs at least one source")
        if block < len(sources):
            raise ConfigError("a block is smaller than the number of sources", found=block, expected=len(sources))
        if seq_len < 1:
            raise ConfigError("seq_len must be at least 1", found=seq_len)
        self.sources = tuple(sorted(sources, key=lambda source: source.name))
        if len({source.name for source in self.sources}) < len(self.sources):
            raise ConfigError("a mixture names a source twice", found=[source.name for source in self.sources])
        self.seq_len = seq_len
        self.seed = seed
        self.block = block
        for source in self.sources:
            if not 0 < source.weight < float("inf"):
                raise ConfigError(f"the weight of {source.name} must be positive and finite", found=source.weight)
            if source.tokens <= seq_len:
                raise ConfigError(
                    f"source {source.name} is too small for one sample", found=f"{source.tokens} tokens",
                    expected=f"at least {seq_len + 1} tokens", hint="lower seq_len, or give the source more data",
                )  # fmt: skip
        self._slots = np.array([(source.tokens - 1) // seq_len for source in self.sources], dtype=np.int64)
        self._quota = _quotas([source.weight for source in self.sources], block)
        self._pattern = _spread(self._quota)  # position in block -> source
        self._rank = np.zeros(block, dtype=np.int64)  # position in block -> how many of that source before it
        self._positions: list[I64] = []  # source -> positions in the block
        for index in range(len(self.sources)):
            positions = np.flatnonzero(self._pattern == index).astype(np.int64)
            self._rank[positions] = np.arange(len(positions))
            self._positions.append(positions)
        self._index = {source.name: index for index, source in enumerate(self.sources)}

    def samples_per_epoch(self, source: str) -> int:
        """How many samples one pass over the source gives."""
        return int(self._slots[self._index[source]])

    def quota(self, source: str) -> int:
        """How many samples of every block come from the source."""
        return int(self._quota[self._index[source]])

    def locate(self, index: int) -> Sample:
        """Where sample `index` (from 0) comes from."""
        source, epoch, slot = (int(part[0]) for part in self._locate(np.array([index], dtype=np.int64)))
        return Sample(index, self.sources[source].name, epoch, slot, slot * self.seq_len)

    def locate_many(self, indices: npt.ArrayLike) -> tuple[I64, I64, I64]:
        """As `locate`, for many samples.

        Args:
            indices: Sample numbers, shape [S].

        Returns:
            Index into `sources`, epoch, and token offset; each of shape [S].
        """
        source, epoch, slot = self._locate(np.asarray(indices, dtype=np.int64))
        return source, epoch, slot * self.seq_len

    def _locate(self, indices: I64) -> tuple[I64, I64, I64]:
        block, position = np.divmod(indices, self.block)
        source = self._pattern[position]
        nth = block * self._quota[source] + self._rank[position]
        epoch, place = np.divmod(nth, self._slots[source])
        slot = np.empty_like(place)
        for which in np.unique(source):
            mine = source == which
            for turn in np.unique(epoch[mine]):
                here = mine & (epoch == turn)
                slot[here] = self._permutation(int(which), int(turn)).forward(place[here])
        return source, epoch, slot

    def invert(self, source: str, token_start: int, token_stop: int, until: int) -> list[int]:
        """The samples below `until` that hold any of the source's tokens `[token_start, token_stop)`, in order.

        A sample holds `seq_len + 1` tokens, so a token on a boundary is in two samples (as label and as input).
        """
        which = self._index[source]
        slots = int(self._slots[which])
        if token_stop <= token_start:
            return []
        # Slot k holds tokens [k L, k L + L]: it touches the range when k L < stop and k L + L >= start.
        first = max(0, -(-(token_start - self.seq_len) // self.seq_len))
        last = min(slots - 1, (token_stop - 1) // self.seq_len)
        if last < first:
            return []
        wanted = np.arange(first, last + 1, dtype=np.int64)
        found: list[int] = []
        quota, positions = int(self._quota[which]), self._positions[which]
        drawn = _drawn(until, self.block, positions)
        for epoch in range(-(-drawn // slots)):
            nth = epoch * slots + self._permutation(which, epoch).backward(wanted)
            block, rank = np.divmod(nth, quota)
            index = block * self.block + positions[rank]
            found += [int(value) for value in index[index < until]]
        return sorted(found)

    def drawn(self, source: str, until: int) -> int:
        """How many of the first `until` samples come from the source."""
        return _drawn(until, self.block, self._positions[self._index[source]])

    def digest(self, count: int) -> str:
        """SHA-256 over the first `count` samples (source name, token offset), in chunks of constant memory."""
        state = hashlib.sha256("\0".join(source.name for source in self.sources).encode())
        for start in range(0, count, 1 << 16):
            source, _, offset = self.locate_many(np.arange(start, min(count, start + (1 << 16))))
            state.update(np.stack([source, offset], axis=1).astype("<i8").tobytes())
        return state.hexdigest()

    def _permutation(self, source: int, epoch: int) -> Permutation:
        label = f"{self.seed}\0{self.sources[source].name}\0{epoch}"
        return Permutation(int(self._slots[source]), label)


class Permutation:
    """A keyed permutation of `[0, size)` that is computed, not stored, in both directions.

    Args:
        size: Size of the domain, at most 2^62.
        label: The key; each label gives another permutation.
    """

    def __init__(self, size: int, label: str) -> None:
        self.size = size
        self._half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
        self._mask = np.uint64((1 << int(self._half)) - 1)
        key = hashlib.shake_256(label.encode()).digest(8 * _ROUNDS)
        self._keys = np.frombuffer(key, dtype="<u8").astype(np.uint64)

    def forward(self, values: I64) -> I64:
        """Where each of `values` (shape [S], in `[0, size)`) goes."""
        return self._walk(values, self._encrypt)

    def backward(self, values: I64) -> I64:
        """The inverse of `forward`."""
        return self._walk(values, self._decrypt)

    def _walk(self, values: I64, step: _Step) -> I64:
        # Cycle walking: the Feistel network permutes [0, 4^half); apply it again until the value is in range.
        result = step(values.astype(np.uint64))
        outside = np.flatnonzero(result >= self.size)
        while outside.size:
            result[outside] = step(result[outside])
            outside = outside[result[outside] >= self.size]
        return result.astype(np.int64)

    def _encrypt(self, value: U64) -> U64:
        left, right = value >> self._half, value & self._mask
        for key in self._keys:
            left, right = right, left ^ (mix64(right + key) & self._mask)
        return (left << self._half) | right

    def _decrypt(self, value: U64) -> U64:
        left, right = value >> self._half, value & self._mask
        for key in self._keys[::-1]:
            left, right = right ^ (mix64(left + key) & self._mask), left
        return (left << self._half) | right


class _Step(Protocol):
    """Type of the two Feistel directions."""

    def __call__(self, value: U64, /) -> U64: ...


def _quotas(weights: Sequence[float], block: int) -> I64:
    """Largest-remainder shares of a block; every source gets at least one sample."""
    exact = np.array(weights, dtype=np.float64) / float(np.sum(weights)) * block
    quota = np.maximum(1, np.floor(exact).astype(np.int64))
    while quota.sum() < block:
        quota[int(np.argmax(exact - quota))] += 1
    while quota.sum() > block:
        spare = np.where(quota > 1, exact - quota, np.inf)
        quota[int(np.argmin(spare))] -= 1
    return quota


def _spread(quota: I64) -> I64:
    """A block in which each source's samples are spread evenly: at every prefix within one sample of its share.

    Tijdeman's chairman assignment ("The chairman assignment problem", Discrete Mathematics 32, 1980): at each
    position, among the sources that may take it without running ahead, take the one whose deadline is nearest.
    """
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


def _drawn(until: int, block: int, positions: I64) -> int:
    whole, part = divmod(until, block)
    return whole * len(positions) + int(np.searchsorted(positions, part))
