"""Random numbers of one sample: a pure function of the run's seed, of what they are for, and of the sample's number.

So they are the same on every process, at every world size and after every resume, and nothing of them is ever stored.
They are made of the raw words of a bit generator, whose stream numpy keeps the same from version to version (NEP 19).
"""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]


class Draws:
    """A stream of random numbers.

    Args:
        seed: The run's seed.
        purpose: What they are for.
        number: Of the sample in the order, or of what else they belong to.
    """

    def __init__(self, seed: int, purpose: str, number: int) -> None:
        key = sha256(f"{seed}\0{purpose}\0{number}".encode()).digest()[:16]
        # Philox takes its key as it is (Salmon et al., SC 2011): making one costs no more than the hash.
        self._words = np.random.Philox(key=int.from_bytes(key, "little"))

    def uniform(self, count: int) -> npt.NDArray[np.float64]:
        """`count` numbers of `[0, 1)`, multiples of 2^-53."""
        raw = np.asarray(self._words.random_raw(count), dtype=np.uint64)
        return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def whole(self, count: int, bound: int) -> I64:
        """`count` whole numbers of `[0, bound)`; `bound` is far below 2^53, so that each is about as likely."""
        return np.floor(self.uniform(count) * bound).astype(np.int64)

    def one(self, bound: int) -> int:
        """A whole number of `[0, bound)`."""
        return int(self.whole(1, bound)[0])

    def choose(self, count: int, of: int) -> I64:
        """`count` different numbers of `[0, of)`, ascending; each set of so many is as likely."""
        return np.sort(np.argsort(self.uniform(of), kind="stable")[:count]).astype(np.int64)

    def composition(self, total: int, parts: int) -> I64:
        """`parts` positive numbers that add up to `total`; each way is as likely."""
        bounds = np.concatenate([[0], self.choose(parts - 1, total - 1) + 1, [total]])
        return np.diff(bounds).astype(np.int64)
