"""Vectorised 64-bit hashing of integers: what the sample order and the n-gram hashes are made of."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]


def mix64(values: U64) -> U64:
    """The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014): every bit depends on every other."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


@lru_cache(maxsize=4)
def powers(base: int, count: int) -> tuple[U64, U64]:
    """Powers 0 … count-1 of an odd base and of its inverse, modulo 2**64; each of shape [count]."""
    tables: list[U64] = []
    for factor in (base, pow(base, -1, 1 << 64)):
        table = np.full(count, factor, dtype=np.uint64)
        table[0] = 1
        tables.append(np.multiply.accumulate(table))
    return tables[0], tables[1]
