"""The validation set: whole held-out documents in a fixed order, cut into windows, and what a unigram model gives.

Documents are taken in order of their id, which is a hash of their content: a fair choice that is the same in every
run. Each source gets its share of the windows by its mixture weight. The token that ends a document is not scored,
so that bits per byte are those of the text alone.

Legend: B windows, L tokens in a window, S sources, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from headwater.core.console import warn
from headwater.core.sidecar import Sidecar
from headwater.train.inputs import Inputs
from headwater.train.objectives.examples import IGNORE

I64 = npt.NDArray[np.int64]

UNIGRAM_TOKENS = 50_000_000
"""Tokens of each source that the unigram model counts, at most: enough for frequencies, seconds to read."""


@dataclass(frozen=True)
class HeldOut:
    """The validation windows of all sources.

    Attributes:
        inputs_BL: Token ids.
        labels_BL: The next token of each; `IGNORE` where it is not scored.
        positions_BL: As in training.
        sources_B: Of which source each window is: an index into `sources`.
        sources: The sources that have held-out documents.
        text_bytes: UTF-8 bytes of the text whose tokens are scored.
        documents: How many documents.
        seen_BL, chances_BL: As `objectives.examples.Examples`; none with causal language modelling.
    """

    inputs_BL: I64
    labels_BL: I64
    positions_BL: I64
    sources_B: I64
    sources: tuple[str, ...]
    text_bytes: int
    documents: int
    seen_BL: npt.NDArray[np.bool_] | None = None
    chances_BL: npt.NDArray[np.float32] | None = None

    @cached_property
    def tokens(self) -> int:
        """How many tokens are scored."""
        return int((self.labels_BL != IGNORE).sum())

    def by_source(self, nats_S: Sequence[float], counted_B: I64) -> dict[str, float]:
        """Source → mean loss, of the sources of which something is scored.

        Args:
            nats_S: Summed losses.
            counted_B: For how many tokens the loss of each window counts.
        """
        tokens_S = np.bincount(self.sources_B, weights=counted_B, minlength=len(self.sources)).tolist()
        return {
            name: nats / tokens for name, nats, tokens in zip(self.sources, nats_S, tokens_S, strict=True) if tokens
        }

    def bits_per_byte(self, nats: float) -> float:
        """Bits a byte of text, from the summed loss over all scored tokens."""
        return nats / math.log(2) / self.text_bytes


def held_out(inputs: Inputs) -> HeldOut | None:
    """The validation set of a run, or none when no source has held-out documents."""
    config = inputs.config
    windows = config.validation.batches * config.global_batch
    parts: list[tuple[I64, I64, I64]] = []
    sources: list[str] = []
    text_bytes = documents = 0
    for source, weight in inputs.mixture.normalised().items():
        part = _source(inputs, source, max(1, round(windows * weight)))
        if part is not None:
            tokens, size, count = part
            parts.append(tokens)
            sources.append(source)
            text_bytes += size
            documents += count
    if not parts:
        warn("no source has held-out documents: this run is not validated")
        return None
    joined = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    sources_B = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    return HeldOut(joined[0], joined[1], joined[2], sources_B, tuple(sources), text_bytes, documents)


def _source(inputs: Inputs, source: str, windows: int) -> tuple[tuple[I64, I64, I64], int, int] | None:
    length, reader = inputs.config.seq_len, inputs.held_out[source]
    budget = windows * length
    stream, places = [np.array([inputs.end_of_text])], [np.zeros(1, dtype=np.int64)]
    used = text_bytes = documents = 0
    rows = Sidecar(inputs.run.tokens(source)).first_held_out(budget)
    for row in rows:
        taken = min(row["token_count"], budget - used)
        # The last document may be cut; its bytes are then counted in proportion.
        text_bytes += round(row["text_bytes"] * taken / row["token_count"])
        stream.append(reader.get(row["token_start"], taken))
        places.append(np.arange(taken, dtype=np.int64))
        used += taken
        documents += 1
    if not used:
        return None
    for tokens, row in zip(stream[1:], rows, strict=True):
        inputs.refuse_unknown_tokens(reader.prefix, tokens, row["token_start"])
    tokens, place = np.concatenate(stream).astype(np.int64), np.concatenate(places)
    count = -(-used // length)
    inputs_BL, labels_BL, positions_BL = (np.full(count * length, fill) for fill in (inputs.end_of_text, IGNORE, 0))
    inputs_BL[:used], positions_BL[:used] = tokens[:used], place[:used]
    labels_BL[:used] = np.where(tokens[1:] == inputs.end_of_text, IGNORE, tokens[1:])
    positions_BL = positions_BL.reshape(count, length)
    # A window that starts inside a document starts at position 0, as a training sample does.
    positions_BL = _from_window_start(positions_BL)
    return (inputs_BL.reshape(count, length), labels_BL.reshape(count, length), positions_BL), text_bytes, documents


def _from_window_start(positions_BL: I64) -> I64:
    length = positions_BL.shape[1]
    column = np.arange(length)
    begins = np.where(positions_BL == 0, column, 0)
    return column - np.maximum.accumulate(begins, axis=1)


def unigram_bits_per_byte(inputs: Inputs, data: HeldOut) -> float:
    """Bits a byte that the best model without context gives on the same tokens.

    Token frequencies of the training split, mixed by weight, with add-one smoothing.
    """
    frequency_V = np.zeros(inputs.vocab_size)
    for source, weight in inputs.mixture.normalised().items():
        tokens = np.asarray(inputs.readers[source].tokens[:UNIGRAM_TOKENS])
        inputs.refuse_unknown_tokens(inputs.readers[source].prefix, tokens, 0)
        counts = np.bincount(tokens, minlength=inputs.vocab_size).astype(float)
        counts[inputs.end_of_text] = 0
        counts += 1
        frequency_V += weight * counts / counts.sum()
    scored = data.labels_BL[data.labels_BL != IGNORE]
    return data.bits_per_byte(float(-np.log(frequency_V)[scored].sum()))
