"""A keyed permutation of a range of numbers that is computed, not stored.

A Feistel network with cycle walking (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002): it needs
no table, so its memory and start-up do not grow with the range.

Legend: S values.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
import numpy.typing as npt

from headwater.core.hashing import U64, mix64

I64 = npt.NDArray[np.int64]

_ROUNDS = 6


class Permutation:
    """A keyed permutation of `[0, size)` that is computed, not stored, in both directions.

    Args:
        size: Size of the domain, at most 2^62.
        label: The key; each label gives another permutation.
    """

    def __init__(self, size: int, label: str) -> None:
        self.size = size
        self._half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
        self._mask = np.uint64((1 << int(self._half)) - 1)
        key = hashlib.shake_256(label.encode()).digest(8 * _ROUNDS)
        self._keys = np.frombuffer(key, dtype="<u8").astype(np.uint64)

    def forward(self, values: I64) -> I64:
        """Where each of `values` (shape [S], in `[0, size)`) goes."""
        return self._walk(values, self._encrypt)

    def backward(self, values: I64) -> I64:
        """The inverse of `forward`."""
        return self._walk(values, self._decrypt)

    def _walk(self, values: I64, step: _Step) -> I64:
        # Cycle walking: the Feistel network permutes [0, 4^half); apply it again until the value is in range.
        result = step(values.astype(np.uint64))
        outside = np.flatnonzero(result >= self.size)
        while outside.size:
            result[outside] = step(result[outside])
            outside = outside[result[outside] >= self.size]
        return result.astype(np.int64)

    def _encrypt(self, value: U64) -> U64:
        left, right = value >> self._half, value & self._mask
        for key in self._keys:
            left, right = right, left ^ (mix64(right + key) & self._mask)
        return (left << self._half) | right

    def _decrypt(self, value: U64) -> U64:
        left, right = value >> self._half, value & self._mask
        for key in self._keys[::-1]:
            left, right = right ^ (mix64(left + key) & self._mask), left
        return (left << self._half) | right


class _Step(Protocol):
    """Type of the two Feistel directions."""

    def __call__(self, value: U64, /) -> U64: ...
