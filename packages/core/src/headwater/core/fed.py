"""What a training step was fed, as one number that anyone who has the tokens can compute again.

Legend: B samples, L tokens in a sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from headwater.core.order import Order
from headwater.core.skips import KeptOrder
from headwater.core.tokens import MegatronReader

I64 = npt.NDArray[np.int64]
_MODULUS = 1 << 64


def fed_digest(first: int, tokens: npt.NDArray[np.integer], positions: npt.NDArray[np.integer]) -> int:
    """Digest of a run of samples: the sum, modulo 2^64, of 64 bits of the SHA-256 of each.

    A sample's is over its number in the run, its token ids and the places of its tokens in their documents. The sum of
    a global batch does not depend on how it is cut up among processes; any other token, place or order changes it.

    Args:
        first: Number of the first sample, as the run consumes them.
        tokens: Token ids, shape [B, L + 1]: the inputs and the label of the last.
        positions: Places in the documents, shape [B, L].

    Returns:
        A number of 64 bits, as a signed integer, so that tensors can add it up.
    """
    count = len(tokens)
    # A row is hashed as it lies: its number in the first two words, the ids, its first place in the last word.
    words = np.empty((count, tokens.shape[1] + 3), dtype="<i4")
    words[:, :2] = np.arange(first, first + count, dtype="<i8")[:, None].view("<i4")
    words[:, 2:-1] = tokens
    words[:, -1] = positions[:, 0]
    # Places count up but where a document starts: where they do not says all of them, in a few numbers.
    rows, columns = np.nonzero(positions[:, 1:] - positions[:, :-1] != 1)
    bounds = np.searchsorted(rows, np.arange(count + 1)).tolist()
    total = 0
    for row in range(count):
        state = whole = words[row]
        if bounds[row] < bounds[row + 1]:
            breaks = columns[bounds[row] : bounds[row + 1]] + 1
            state = np.concatenate([whole[:-1], breaks, whole[-1:], positions[row, breaks]]).astype("<i4")
        total += int.from_bytes(sha256(state.data).digest()[:8], "little")
    return as_signed(total)


def as_signed(digest: int) -> int:
    """A sum of digests, modulo 2^64, as a signed integer."""
    return (digest + _MODULUS // 2) % _MODULUS - _MODULUS // 2


def as_text(digest: int) -> str:
    """A digest as 16 hexadecimal digits."""
    return f"{digest % _MODULUS:016x}"


def read_samples(
    order: Order | KeptOrder, readers: Mapping[str, MegatronReader], start: int, stop: int
) -> tuple[I64, I64]:
    """The samples `[start, stop)` of a run.

    Args:
        order: The order in which the run consumes them.
        readers: Source → its training tokens.
        start: The first.
        stop: One more than the last.

    Returns:
        Token ids, shape [B, L + 1], and the place of each input token in its document, shape [B, L].
    """
    sources, _, offsets = order.locate_many(np.arange(start, stop, dtype=np.int64))
    return read_located(order, readers, sources.tolist(), offsets.tolist())


def read_located(
    order: Order | KeptOrder, readers: Mapping[str, MegatronReader], sources: Sequence[int], offsets: Sequence[int]
) -> tuple[I64, I64]:
    """As `read_samples`, of samples by what `locate_many` says of them: their sources and token offsets."""
    tokens = np.empty((len(offsets), order.seq_len + 1), dtype=np.int64)
    positions = np.empty((len(offsets), order.seq_len), dtype=np.int64)
    for row, (which, offset) in enumerate(zip(sources, offsets, strict=True)):
        reader = readers[order.sources[which].name]
        tokens[row] = reader.tokens[offset : offset + order.seq_len + 1]
        positions[row] = reader.positions(offset, order.seq_len)
    return tokens, positions
