"""The key of a row: 32 bytes whose order is the order of preference among duplicates.

    bytes 0–1    rank of the source among duplicates (the least is kept)
    bytes 2–17   the document's id
    bytes 18–31  BLAKE2b of the place that the row was read from, which tells rows of one id apart

So one column says which row is meant, which of two stays, and what the other's verdict names.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import pyarrow as pa

SIZE = 32
RANK_BYTES = 2


def row_keys(rank: int, ids: Sequence[str], places: Sequence[bytes]) -> pa.Array:
    """The keys of rows of one source.

    Args:
        rank: Of the source.
        ids: Document ids, 32 hexadecimal digits each.
        places: What tells any two rows of the source apart.
    """
    prefix = rank.to_bytes(RANK_BYTES, "big")
    keys = [
        prefix + bytes.fromhex(identifier) + blake2b(place, digest_size=14).digest()
        for identifier, place in zip(ids, places, strict=True)
    ]
    return pa.array(keys, pa.binary())


def id_of(key: bytes) -> str:
    """The document id in a key."""
    return key[RANK_BYTES:18].hex()
