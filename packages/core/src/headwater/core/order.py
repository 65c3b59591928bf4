"""The sample order: sample `i` of a run is a pure function of (mixture, seed, i).

    i ──► stage ──► (source, n-th sample of that source) ──► (epoch, slot) ──► token offset

* **Which stage.** A run is one stage, or several with weights of their own. A stage begins where the one before it
  ends; the last goes on for ever. A source goes on where an earlier stage left it: nothing is seen again before the
  whole source was seen, whatever stages that took.
* **Which source.** The samples of a stage come in blocks of `block` samples. Each source has a fixed quota in a block
  (largest remainder rounding of its weight), spread evenly over it, so that at every prefix of the stage each source
  is within one sample of its quota. The pattern is the same in every block (`core.blocks`).
* **Which slot.** A source of `T` tokens has `N = (T - 1) // seq_len` slots. Each epoch visits all `N` in a new
  order: a keyed permutation of `[0, N)` (`core.permutation`). It needs no table, so memory and start-up do not grow
  with the corpus.
* Every step of this has an inverse, so `invert` finds the samples that touch a document, and no log of samples
  has to be kept. The state to resume from is one integer: how many samples were consumed.

Legend: S samples asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from headwater.core.blocks import Blocks
from headwater.core.errors import ConfigError
from headwater.core.permutation import Permutation

I64 = npt.NDArray[np.int64]

DEFAULT_BLOCK = 1000
DIGESTED_WHOLE = 1 << 18
"""Up to so many samples are digested one by one, of more a fixed number: the cost of a checkpoint has a bound."""
_RUN = 1 << 10
_AHEAD = 1 << 8
"""Samples that are located together when a batch asks for a few: training asks for the next ones then."""


@dataclass(frozen=True)
class SourceSpec:
    """One source of a mixture: its name, how many tokens it has, and its weight (positive; only ratios matter)."""

    name: str
    tokens: int
    weight: float = 1.0


@dataclass(frozen=True)
class StageSpec:
    """A stretch of samples with weights of its own.

    Attributes:
        name: Its name, for people.
        samples: How many samples it has.
        weights: Source → weight (positive; only ratios matter). A source that is not named gives nothing.
    """

    name: str
    samples: int
    weights: Mapping[str, float]


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
        stages: The stages in order, whose weights are then those that count; none: one stage with the sources' own.

    Raises:
        ConfigError: No source, one named twice, unknown or too small for one sample, a weight that is not positive
            and finite, a stage without samples, or a seq_len below 1.
    """

    def __init__(
        self, sources: Sequence[SourceSpec], seq_len: int, seed: int, block: int = DEFAULT_BLOCK,
        stages: Sequence[StageSpec] = (),
    ) -> None:  # fmt: skip
        if not sources:
            raise ConfigError("a mixture needs at least one source")
        if seq_len < 1:
            raise ConfigError("seq_len must be at least 1", found=seq_len)
        self.sources = tuple(sorted(sources, key=lambda source: source.name))
        if len({source.name for source in self.sources}) < len(self.sources):
            raise ConfigError("a mixture names a source twice", found=[source.name for source in self.sources])
        self.seq_len = seq_len
        self.seed = seed
        self.block = block
        self.stages = tuple(stages) or (StageSpec("all", 1, {source.name: source.weight for source in self.sources}),)
        for stage in self.stages:
            _check_stage(stage, {source.name for source in self.sources}, block)
        for source in self.sources:
            if source.tokens <= seq_len:
                raise ConfigError(
                    f"source {source.name} is too small for one sample", found=f"{source.tokens} tokens",
                    expected=f"at least {seq_len + 1} tokens", hint="lower seq_len, or give the source more data",
                )  # fmt: skip
        self._slots = np.array([(source.tokens - 1) // seq_len for source in self.sources], dtype=np.int64)
        self._index = {source.name: index for index, source in enumerate(self.sources)}
        self._blocks = self._lay_out()
        self._starts = np.array([part.start for part in self._blocks], dtype=np.int64)
        self._before = np.stack([part.before for part in self._blocks])  # stage, source -> samples given before it
        self._ahead: tuple[int, tuple[I64, I64, I64]] = (-1, self._locate(np.empty(0, dtype=np.int64)))

    def _lay_out(self) -> list[Blocks]:
        parts: list[Blocks] = []
        start, before = 0, np.zeros(len(self.sources), dtype=np.int64)
        for stage in self.stages:
            weights = [stage.weights.get(source.name, 0.0) for source in self.sources]
            parts.append(Blocks(start, before, weights, self.block))
            start += stage.samples
            before = np.array([parts[-1].drawn(which, start) for which in range(len(self.sources))], dtype=np.int64)
        return parts

    def stage_at(self, index: int) -> int:
        """Number (from 0) of the stage that sample `index` belongs to."""
        return int(np.searchsorted(self._starts, index, side="right")) - 1

    def stage_start(self, stage: int) -> int:
        """The first sample of a stage."""
        return int(self._starts[stage])

    def samples_per_epoch(self, source: str) -> int:
        """How many samples one pass over the source gives."""
        return int(self._slots[self._index[source]])

    def quota(self, source: str, stage: int = 0) -> int:
        """How many samples of every block of a stage come from the source."""
        return int(self._blocks[stage].quota[self._index[source]])

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
        asked = np.asarray(indices, dtype=np.int64)
        chunk = int(asked[0]) // _AHEAD if len(asked) else -1
        if 1 < len(asked) < _AHEAD and int(asked.min()) // _AHEAD == chunk == int(asked.max()) // _AHEAD:
            held, located = self._ahead
            if held != chunk:
                located = self._locate(np.arange(chunk * _AHEAD, (chunk + 1) * _AHEAD))
                self._ahead = chunk, located
            source, epoch, slot = (part[asked - chunk * _AHEAD] for part in located)
        else:
            source, epoch, slot = self._locate(asked)
        return source, epoch, slot * self.seq_len

    def _locate(self, indices: I64) -> tuple[I64, I64, I64]:
        source, nth = np.empty_like(indices), np.empty_like(indices)
        stage = np.searchsorted(self._starts, indices, side="right") - 1
        for number in np.unique(stage):
            here = stage == number
            source[here], nth[here] = self._blocks[int(number)].draw(indices[here])
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
        drawn = self.drawn(source, until)
        for epoch in range(-(-drawn // slots)):
            nth = epoch * slots + self._permutation(which, epoch).backward(wanted)
            found += self._indices(which, nth[nth < drawn])
        return sorted(found)

    def _indices(self, source: int, nth: I64) -> list[int]:
        """Numbers of the samples that are the `nth` (shape [S], all of them drawn) of a source."""
        # The last stage before which at most so many were given: a stage that gives none is passed over.
        stage = np.searchsorted(self._before[:, source], nth, side="right") - 1
        return [
            int(index)
            for number in np.unique(stage)
            for index in self._blocks[int(number)].index_of(source, nth[stage == number])
        ]

    def drawn(self, source: str, until: int) -> int:
        """How many of the first `until` samples come from the source."""
        return self._blocks[self.stage_at(max(until - 1, 0))].drawn(self._index[source], until)

    def digest(self, count: int, numbers: Callable[[I64], I64] = lambda places: places) -> str:
        """SHA-256 over the first `count` samples (source name, token offset), in chunks of constant memory.

        Of more than `DIGESTED_WHOLE` samples, runs of 1,024 are taken, evenly spaced from the first to the last, of
        `DIGESTED_WHOLE` samples together.

        Args:
            count: How many samples.
            numbers: Which samples they are, from their places 0, 1, 2, …; shape [S] to shape [S].
        """
        state = hashlib.sha256("\0".join(source.name for source in self.sources).encode())
        step, starts = 1 << 16, range(0, count, 1 << 16)
        if count > DIGESTED_WHOLE:
            runs = DIGESTED_WHOLE // _RUN
            step, starts = _RUN, [(count - _RUN) * number // (runs - 1) for number in range(runs)]
        for start in starts:
            source, _, offset = self.locate_many(numbers(np.arange(start, min(count, start + step))))
            state.update(np.stack([source, offset], axis=1).astype("<i8").tobytes())
        return state.hexdigest()

    def _permutation(self, source: int, epoch: int) -> Permutation:
        label = f"{self.seed}\0{self.sources[source].name}\0{epoch}"
        return _made(int(self._slots[source]), label)


@lru_cache(maxsize=256)
def _made(size: int, label: str) -> Permutation:
    return Permutation(size, label)  # the same for all samples of an epoch


def _check_stage(stage: StageSpec, known: set[str], block: int) -> None:
    if stage.samples < 1:
        raise ConfigError(f"the stage {stage.name} has no samples", hint="give it a larger share, or leave it out")
    for name, weight in stage.weights.items():
        if name not in known:
            raise ConfigError(f"the stage {stage.name} names the source {name}, which has no tokens")
        if not 0 < weight < float("inf"):
            raise ConfigError(f"the weight of {name} must be positive and finite", found=weight)
    if not stage.weights:
        raise ConfigError(f"the stage {stage.name} names no source")
    if block < len(stage.weights):
        raise ConfigError("a block is smaller than the number of sources", found=block, expected=len(stage.weights))
