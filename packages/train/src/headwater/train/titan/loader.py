"""The training data as a torchtitan loader: its whole state is how many samples were consumed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torchtitan.components.dataloader import BaseDataLoader
from torchtitan.components.tokenizer import BaseTokenizer

from headwater.core.fed import as_signed
from headwater.train.batches import NOTHING, Batch, read_batches
from headwater.train.inputs import Inputs

READ_TOGETHER = 1 << 13
"""Tokens up to which the micro-batches of the steps to come are read with the one that is due."""


class OrderLoader(BaseDataLoader):
    """Gives this data-parallel rank its slice of each global batch, micro-batch by micro-batch.

    A step's positions of the order (`core.ramp`) are cut into as many equal contiguous slices as there are ranks.
    So the state does not depend on the number of ranks.

    Attributes:
        samples: How many were consumed.
        skips: The samples of the order that are left out; the guard's state holds them.
        slept: Seconds of the reading in which the thread did not run.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(BaseDataLoader.Config):
        """As the base, and the objects of the run that are no configuration (leading underscore)."""

        _inputs: Any = None

    def __init__(self, config: Config, *, dp_world_size: int, dp_rank: int, local_batch_size: int, **_: Any) -> None:
        self._inputs: Inputs = config._inputs
        self._steps = self._inputs.config.step_samples
        self._ranks, self._rank = dp_world_size, dp_rank
        self._micro = local_batch_size
        self.samples = 0
        self.skips = NOTHING
        self.slept = 0.0
        self._ahead: deque[tuple[int, Batch]] = deque()
        self._read_by: tuple[Any, Any] = (None, None)
        self._fed = 0
        self._sources: list[Any] = []

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        while True:
            size = self.batch
            part = size // self._ranks
            start = self.samples + self._rank * part
            for first in range(start, start + part, self._micro):
                if first + self._micro == start + part:
                    self.samples += size
                batch = self._read(first)
                self._fed += batch.digest
                self._sources.append(batch.sources_B)
                arrays = {"input": batch.inputs_BL, "positions": batch.positions_BL, "seen": batch.seen_BL,
                          "chances": batch.chances_BL}  # fmt: skip
                tensors = {name: torch.from_numpy(array) for name, array in arrays.items() if array is not None}
                yield tensors, torch.from_numpy(batch.labels_BL)

    def _read(self, first: int) -> Batch:
        """The micro-batch that begins at a position of the order."""
        order, skips = self._read_by
        changed = order is not self._inputs.order or skips is not self.skips
        if changed or not self._ahead or self._ahead[0][0] != first:
            began, ran = time.perf_counter(), time.thread_time()
            together = max(1, READ_TOGETHER // (self._micro * self._inputs.config.seq_len))
            starts = list(islice(self._starts(first), together))
            batches = read_batches(self._inputs, [range(at, at + self._micro) for at in starts], self.skips)
            self._ahead = deque(zip(starts, batches, strict=True))
            self._read_by = self._inputs.order, self.skips
            self.slept += time.perf_counter() - began - (time.thread_time() - ran)
        return self._ahead.popleft()[1]

    def _starts(self, first: int) -> Iterator[int]:
        """Where this rank's micro-batches begin, from one of them to the last of the planned steps."""
        step = self._steps.step_of(first)
        while step <= self._inputs.config.steps:
            part = self._steps.size(step) // self._ranks
            start = self._steps.consumed(step - 1) + self._rank * part
            yield from range(max(first, start), start + part, self._micro)
            step += 1

    @property
    def batch(self) -> int:
        """Samples in the next step, over all ranks."""
        return self._steps.size(self._steps.step_of(self.samples))

    @property
    def micro_batches(self) -> int:
        """Micro-batches that this rank is given in the next step."""
        return self.batch // (self._ranks * self._micro)

    def take_fed(self) -> int:
        """Digest of what this rank was given since the last call; over the ranks they add up to the batch's."""
        fed, self._fed = self._fed, 0
        return as_signed(fed)

    def take_sources(self) -> list[Any]:
        """For each micro-batch since the last call, of which source its samples are: an index into the order's."""
        taken, self._sources = self._sources, []
        return taken

    def state_dict(self) -> dict[str, Any]:
        """The one integer."""
        return {"samples": self.samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on after the samples that were consumed."""
        self.samples = int(state_dict["samples"])


class NoTokenizer(BaseTokenizer):
    """Stands where torchtitan wants a tokenizer: training reads token ids only."""

    @dataclass(kw_only=True, slots=True)
    class Config(BaseTokenizer.Config):
        """As the base, and the objects of the run that are no configuration (leading underscore)."""

    def __init__(self, config: Config, *, tokenizer_path: str) -> None:
        super().__init__()

    def encode(self, *args: Any, **kwargs: Any) -> list[int]:
        """Never called."""
        raise NotImplementedError("training reads token ids only")

    def decode(self, *args: Any, **kwargs: Any) -> str:
        """Never called."""
        raise NotImplementedError("training reads token ids only")

    def get_vocab_size(self) -> int:
        """Never called."""
        raise NotImplementedError("training reads token ids only")
