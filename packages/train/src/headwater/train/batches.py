"""Samples and batches as arrays: pure functions of the order, so that there is no state but a count.

Legend: B samples, L tokens in a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.errors import TrainError
from headwater.core.sidecar import Sidecar
from headwater.core.tokens import MegatronReader
from headwater.train.inputs import Inputs

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """A batch of samples.

    Attributes:
        inputs_BL: Token ids.
        labels_BL: The next token of each.
        positions_BL: Place of each input token in its document; 0 where a document or a sample starts.
    """

    inputs_BL: I64
    labels_BL: I64
    positions_BL: I64


def read_batch(inputs: Inputs, start: int, stop: int) -> Batch:
    """Samples `[start, stop)` of the run's order."""
    length = inputs.config.seq_len
    sources, _, offsets = inputs.order.locate_many(np.arange(start, stop, dtype=np.int64))
    tokens = np.empty((stop - start, length + 1), dtype=np.int64)
    positions = np.empty((stop - start, length), dtype=np.int64)
    for row, (which, offset) in enumerate(zip(sources, offsets, strict=True)):
        reader = inputs.readers[inputs.order.sources[int(which)].name]
        tokens[row] = reader.get(int(offset), length + 1)
        positions[row] = document_positions(reader, int(offset), length)
        require_known(inputs, reader, tokens[row], int(offset))
    return Batch(tokens[:, :-1], tokens[:, 1:], positions)


def require_known(inputs: Inputs, reader: MegatronReader, tokens: npt.NDArray[np.integer], offset: int) -> None:
    """Refuses tokens that the vocabulary does not have: a file that was damaged after it was written.

    Raises:
        TrainError: Naming the file and the place.
    """
    wrong = np.flatnonzero((tokens < 0) | (tokens >= inputs.vocab_size))
    if len(wrong):
        raise TrainError(
            f"{reader.prefix}.bin holds tokens that the tokenizer does not have",
            found=f"token id {int(tokens[wrong[0]])} at position {offset + int(wrong[0])}",
            expected=f"ids below {inputs.vocab_size}",
            hint="see what was changed with headwater verify; make the tokens again with headwater data tokenize",
        )


def document_positions(reader: MegatronReader, offset: int, length: int) -> I64:
    """Place of tokens `[offset, offset + length)` in their documents, counted from the sample's start at the earliest.

    It restarts at 0 where a document starts: the rotary embedding and the block-causal mask follow from it.
    """
    begins = np.zeros(length, dtype=np.int64)
    inside = reader.starts_between(offset + 1, offset + length) - offset
    begins[inside] = inside
    return np.arange(length, dtype=np.int64) - np.maximum.accumulate(begins)


def documents_of(inputs: Inputs, samples: Sequence[int]) -> list[dict[str, Any]]:
    """The documents that samples hold, from the sidecars: sample, source, document id and URL, in order of sample."""
    sidecars = {name: Sidecar(inputs.run.tokens(name)) for name in inputs.readers}
    located = (inputs.order.locate(index) for index in samples)
    return [
        {"sample": sample.index, "source": sample.source, "id": held.id, "url": held.url}
        for sample in located
        for held in sidecars[sample.source].covering(sample.offset, sample.offset + inputs.config.seq_len + 1)
    ]
