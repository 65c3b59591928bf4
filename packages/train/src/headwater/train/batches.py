"""Samples and batches as arrays: pure functions of the order, so that there is no state but a count.

Legend: B samples, L tokens in a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.fed import fed_digest, read_samples
from headwater.core.sidecar import Sidecar
from headwater.core.skips import KeptOrder, Skips
from headwater.train.inputs import Inputs

I64 = npt.NDArray[np.int64]
NOTHING = Skips()


@dataclass(frozen=True)
class Batch:
    """A batch of samples.

    Attributes:
        inputs_BL: Token ids.
        labels_BL: The next token of each.
        positions_BL: Place of each input token in its document; 0 where a document or a sample starts.
        sources_B: Of which source each sample is: an index into the order's.
        digest: Of all that is fed with them (see `core.fed`).
    """

    inputs_BL: I64
    labels_BL: I64
    positions_BL: I64
    sources_B: I64
    digest: int


def read_batch(inputs: Inputs, start: int, stop: int, skips: Skips = NOTHING) -> Batch:
    """The samples that a run consumes at positions `[start, stop)`.

    Args:
        inputs: The run's inputs.
        start: The first.
        stop: One more than the last.
        skips: The samples of the order that are left out.

    Raises:
        TrainError: A token file holds tokens that the tokenizer does not have.
    """
    order = KeptOrder(inputs.order, skips)
    tokens, positions = read_samples(order, inputs.readers, start, stop)
    if tokens.min() < 0 or tokens.max() >= inputs.vocab_size:
        for row, ids in enumerate(tokens):
            sample = order.locate(start + row)
            inputs.refuse_unknown_tokens(inputs.readers[sample.source].prefix, ids, sample.offset)
    sources, _, _ = order.locate_many(np.arange(start, stop, dtype=np.int64))
    return Batch(tokens[:, :-1], tokens[:, 1:], positions, sources, fed_digest(start, tokens, positions))


def documents_of(inputs: Inputs, samples: Sequence[int]) -> list[dict[str, Any]]:
    """The documents that samples of the order hold: sample, source, document id and URL, in order of sample."""
    sidecars = {name: Sidecar(inputs.run.tokens(name)) for name in inputs.readers}
    located = (inputs.order.locate(index) for index in samples)
    return [
        {"sample": sample.index, "source": sample.source, "id": held.id, "url": held.url}
        for sample in located
        for held in sidecars[sample.source].covering(sample.offset, sample.offset + inputs.config.seq_len + 1)
    ]
