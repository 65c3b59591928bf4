"""A unigram model of training tokens: the bar that any model which has learnt something must clear."""

import numpy as np
import numpy.typing as npt

# Tokens counted at once, so that a corpus larger than memory can be counted.
_CHUNK = 1 << 24


def unigram_bits(train_tokens: npt.NDArray[np.integer], vocab_size: int) -> npt.NDArray[np.float64]:
    """Bits that each token costs under add-one smoothed counts (Laplace).

    Args:
        train_tokens: Training tokens, shape [tokens]; may be memory-mapped.
        vocab_size: Number of token ids.

    Returns:
        `-log2((count + 1) / (tokens + vocab_size))` for every token id, shape [vocab_size].
    """
    counts = np.zeros(vocab_size, dtype=np.int64)
    for start in range(0, len(train_tokens), _CHUNK):
        counts += np.bincount(np.asarray(train_tokens[start : start + _CHUNK]).astype(np.int64), minlength=vocab_size)
    return np.log2(len(train_tokens) + vocab_size) - np.log2(counts + 1)
