"""Exact deduplication by a hash of the normalised text."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.core.ngrams import character_tables
from headwater.data.operators.base import OperatorConfig
from headwater.data.operators.kernels.characters import character_bits
from headwater.data.operators.kernels.texts import PADDING, Texts, as_texts

KEYS = pa.schema([pa.field("key", pa.binary()), pa.field("row", pa.binary())])
DECISIONS = pa.schema([pa.field("row", pa.binary()), pa.field("operator", pa.string()), pa.field("reason", pa.string()),
                       pa.field("detail", pa.string())])  # fmt: skip
"""What a global step decided: rows that go, and why. `detail` is JSON."""

NAME = "exact_dedup"
REASON = "exact_duplicate"
URL_NAME = "url_dedup"
URL_REASON = "url_duplicate"


class ExactDedupConfig(OperatorConfig):
    """Options of `exact_dedup`.

    Attributes:
        normalize: Compare lower-cased words with single spaces, instead of the very bytes.
    """

    normalize: bool = True


class UrlDedupConfig(OperatorConfig):
    """`url_dedup`: of documents with one canonical URL (arguments sorted, no fragment), one stays. No options."""


def text_key(text: str, normalize: bool) -> bytes:
    """128-bit BLAKE2b of a text, normalised or not."""
    if normalize:
        text = " ".join(text.split()).lower()
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def text_keys(texts: pa.Array, normalize: bool) -> pa.Array:
    """`text_key` of each text, as an array of binary(16)."""
    data, offsets = as_texts(texts)
    if normalize:
        data, offsets = normalized(data, offsets, texts)
    view = memoryview(data.data)
    hashes = [hashlib.blake2b(view[a:b], digest_size=16).digest() for a, b in pairwise(offsets.tolist())]
    return pa.array(hashes, pa.binary(16))


def normalized(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], texts: Any) -> Texts:
    """Texts as `" ".join(text.split()).lower()` gives them."""
    from headwater.data.operators.kernels.normalize import normalize_texts  # numba is imported when it has work

    result = np.empty(len(data) + len(data) // 2 + PADDING, np.uint8)
    stops = np.empty(len(offsets) - 1, np.int64)
    special = np.empty(len(offsets) - 1, np.bool_)
    normalize_texts(data, offsets, character_bits(), character_tables()[0], result, stops, special)
    if not special.any():
        return Texts(result, np.concatenate([np.zeros(1, np.int64), stops]))
    parts: list[bytes] = []
    for row, (a, b) in enumerate(pairwise([0, *stops.tolist()])):
        text = texts[row].as_py() if special[row] else None
        parts.append(result[a:b].tobytes() if text is None else " ".join(text.split()).lower().encode())
    offsets = np.cumsum([0, *map(len, parts)])
    return Texts(np.frombuffer(b"".join(parts), np.uint8), offsets)
