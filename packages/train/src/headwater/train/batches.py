"""Samples and batches as arrays: pure functions of the order, so that there is no state but a count.

Legend: B samples of a batch, N samples of several, L tokens in a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.fed import fed_digest, read_located
from headwater.core.sidecar import Sidecar
from headwater.core.skips import KeptOrder, Skips
from headwater.train.inputs import Inputs
from headwater.train.objectives.examples import Place

I64 = npt.NDArray[np.int64]
NOTHING = Skips()


@dataclass(frozen=True)
class Batch:
    """A batch of samples.

    Attributes:
        inputs_BL: Token ids.
        labels_BL: What is to be predicted at each: with causal language modelling, the next token.
        positions_BL: Place of each input token in its document; 0 where a document or a sample starts.
        sources_B: Of which source each sample is: an index into the order's.
        digest: Of the tokens that were read for them (see `core.fed`), whatever the objective makes of these.
        seen_BL, chances_BL: As `objectives.examples.Examples`; none with causal language modelling.
    """

    inputs_BL: I64
    labels_BL: I64
    positions_BL: I64
    sources_B: I64
    digest: int
    seen_BL: npt.NDArray[np.bool_] | None = None
    chances_BL: npt.NDArray[np.float32] | None = None


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
    return read_batches(inputs, [range(start, stop)], skips)[0]


def read_batches(inputs: Inputs, ranges: Sequence[range], skips: Skips = NOTHING) -> list[Batch]:
    """As `read_batch`, of several ranges of positions: many small ones take little longer than one."""
    order = KeptOrder(inputs.order, skips)
    numbers = np.concatenate([np.arange(each.start, each.stop, dtype=np.int64) for each in ranges])
    indices = skips.indices(numbers)
    sources_N, *located = inputs.order.locate_many(indices)
    sources, epochs, offsets = sources_N.tolist(), *(part.tolist() for part in located)
    tokens, positions = read_located(order, inputs.readers, sources, offsets)
    if tokens.min() < 0 or tokens.max() >= inputs.vocab_size:
        for number, ids in zip(numbers.tolist(), tokens, strict=True):
            sample = order.locate(number)
            inputs.refuse_unknown_tokens(inputs.readers[sample.source].prefix, ids, sample.offset)
    # By the sample's own number: leaving others out changes nothing of what is made of it.
    places = [
        Place(inputs.readers[order.sources[which].name], offset, epoch)
        for which, epoch, offset in zip(sources, epochs, offsets, strict=True)
    ]
    made = inputs.objective.rows(tokens, positions, indices.tolist(), places)
    inputs_NL, labels_NL = np.ascontiguousarray(made.inputs_BL), np.ascontiguousarray(made.labels_BL)
    batches: list[Batch] = []
    first = 0
    for each in ranges:
        rows = slice(first, first := first + len(each))
        batches.append(Batch(
            inputs_NL[rows], labels_NL[rows], made.positions_BL[rows], sources_N[rows],
            fed_digest(each.start, tokens[rows], positions[rows]),
            None if made.seen_BL is None else made.seen_BL[rows],
            None if made.chances_BL is None else made.chances_BL[rows],
        ))  # fmt: skip
    return batches


def documents_of(inputs: Inputs, samples: Sequence[int]) -> list[dict[str, Any]]:
    """The documents that samples of the order hold: sample, source, document id and URL, in order of sample."""
    sidecars = {name: Sidecar(inputs.run.tokens(name)) for name in inputs.readers}
    located = (inputs.order.locate(index) for index in samples)
    return [
        {"sample": sample.index, "source": sample.source, "id": held.id, "url": held.url}
        for sample in located
        for held in sidecars[sample.source].covering(sample.offset, sample.offset + inputs.config.seq_len + 1)
    ]
