"""Exact deduplication by a hash of the normalised text."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pyarrow as pa

from headwater.data.arrow import table, take
from headwater.data.operators.base import OperatorConfig
from headwater.data.row_keys import id_of
from headwater.data.shuffle import plain

KEYS = pa.schema([pa.field("key", pa.binary()), pa.field("row", pa.binary())])
DECISIONS = pa.schema([pa.field("row", pa.binary()), pa.field("operator", pa.string()), pa.field("reason", pa.string()),
                       pa.field("detail", pa.string())])  # fmt: skip
"""What a global step decided: rows that go, and why. `detail` is JSON."""

NAME = "exact_dedup"
REASON = "exact_duplicate"


class ExactDedupConfig(OperatorConfig):
    """Options of `exact_dedup`.

    Attributes:
        normalize: Compare lower-cased words with single spaces, instead of the very bytes.
    """

    normalize: bool = True


def text_key(text: str, normalize: bool) -> bytes:
    """128-bit BLAKE2b of a text, normalised or not."""
    if normalize:
        text = " ".join(text.split()).lower()
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def keep_first(groups: pa.Table) -> pa.Table:
    """Decides for whole groups of equal keys: the first row stays, the others go and name it.

    Args:
        groups: Rows of `KEYS` ordered by key, then row.

    Returns:
        Rows of `DECISIONS`.
    """
    keys = plain(groups.column("key"))
    fresh = np.ones(len(keys), dtype=np.bool_)
    fresh[1:] = keys[1:] != keys[:-1]
    first = np.maximum.accumulate(np.where(fresh, np.arange(len(keys)), 0))
    gone = np.flatnonzero(~fresh)
    kept_ids = [id_of(row) for row in take(groups.column("row"), first[gone]).to_pylist()]
    return table(
        {
            "row": take(groups.column("row"), gone),
            "operator": pa.array([NAME] * len(gone), pa.string()),
            "reason": pa.array([REASON] * len(gone), pa.string()),
            "detail": pa.array([json.dumps({"kept": i, "jaccard": 1.0}) for i in kept_ids], pa.string()),
        },
        DECISIONS,
    )
