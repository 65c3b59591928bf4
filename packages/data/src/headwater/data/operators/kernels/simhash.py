"""SimHash fingerprints (Charikar, 2002) of sets of hashes."""

from __future__ import annotations

import numpy as np

from headwater.data.operators.kernels.compiled import compiled


@compiled
def fingerprints(hashes, firsts, result):
    """Of hashes[firsts[k]:firsts[k + 1]], each bit that more than half of them have."""
    ones = np.empty(64, np.int32)
    for k in range(len(firsts) - 1):
        ones[:] = 0
        for place in range(firsts[k], firsts[k + 1]):
            value = hashes[place]
            for bit in range(64):
                ones[bit] += np.int32((value >> np.uint64(bit)) & np.uint64(1))
        found = np.uint64(0)
        for bit in range(64):
            found |= np.uint64(2 * ones[bit] > firsts[k + 1] - firsts[k]) << np.uint64(bit)
        result[k] = found
