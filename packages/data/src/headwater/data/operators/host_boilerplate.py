"""Boilerplate of a host: lines that recur in many of its documents, such as menus, footers and cookie notices.

Lines are counted after exact deduplication: a page that was fetched ten times would otherwise be a template of itself.
The counting is a global step (`headwater.data.templates`); here is what a line is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from headwater.core.config import Whole
from headwater.core.hashing import U64, mix64, powers
from headwater.data.arrow import compute, utf8, values
from headwater.data.operators.base import OperatorConfig
from headwater.data.rows import CODE_TYPES, is_whole

NAME = "host_boilerplate"

I64 = npt.NDArray[np.int64]
_HOST = r"^[A-Za-z][A-Za-z0-9+.\-]*://(?:[^/?#@]*@)?(?P<host>\[[^\]]*\]|[^/?#:]+)"
_BASE = 0xC2B2AE3D27D4EB4F  # odd, so it has an inverse modulo 2**64
_SPACE, _DIGIT = ord(" "), ord("0")


class HostBoilerplateConfig(OperatorConfig):
    """Options of `host_boilerplate`.

    Attributes:
        min_documents: In how many documents of a host a line occurs at least to be a template.
        min_share: In which share of the host's documents.
        min_line_bytes: Shorter lines (without white space, a number counted as one digit) always stay.
        min_characters: Documents that lost lines and have fewer characters left are set aside; 0: none.
        exempt_types: Media type prefixes whose lines neither count nor go: programs repeat lines by nature.
    """

    min_documents: Whole = Field(default=10, ge=2)
    min_share: float = Field(default=0.2, ge=0, le=1)
    min_line_bytes: Whole = Field(default=3, ge=1)
    min_characters: Whole = Field(default=200, ge=0)
    exempt_types: tuple[str, ...] = CODE_TYPES


@dataclass(frozen=True, slots=True)
class HostLines:
    """The lines of a batch that count.

    Attributes:
        keys: A hash of each line, normalised. Shape [lines], as all.
        owners: The row in the batch.
        starts, stops: Its bytes in the text, with the line feed after it.
    """

    keys: U64
    owners: I64
    starts: I64
    stops: I64


def hosts_of(batch: pa.RecordBatch, config: HostBoilerplateConfig) -> list[str | None]:
    """The host of each document that counts; None where there is none, and for exempt types."""
    exempt = [is_whole(media_type, config.exempt_types) for media_type in values(batch, "content_type")]
    hosts: list[str | None] = host_names(batch.column("url")).to_pylist()
    return [None if spared else host for host, spared in zip(hosts, exempt, strict=True)]


def lines_of(batch: pa.RecordBatch, counts: npt.NDArray[np.bool_], config: HostBoilerplateConfig) -> HostLines:
    """The lines that are long enough, of the documents that count (shape [rows])."""
    keys, owners, starts, stops = _line_keys(batch.column("text"), config.min_line_bytes)
    used = (keys != 0) & counts[owners]
    return HostLines(keys[used], owners[used], starts[used], stops[used])


def host_names(urls: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The host name of each URL in lower case; null where there is none."""
    return compute.utf8_lower(compute.struct_field(compute.extract_regex(urls, _HOST), "host"))


def _line_keys(texts: pa.Array, least: int) -> tuple[U64, I64, I64, I64]:
    """A 64-bit hash of each line of each text, normalised, 0 for lines that are too short; and where each line is.

    Normalised means: ASCII letters in lower case, white space left out, each number as one digit, so that lines
    that differ in a date or a counter are equal. A polynomial hash over prefix sums: no Python string a line.
    """
    split = compute.split_pattern(texts, "\n")
    content, bounds = utf8(split.flatten())  # the line feeds are no part of it
    folded = _fold()[content[: bounds[-1]]]
    kept = folded != _SPACE
    kept[1:] &= ~((folded[1:] == _DIGIT) & (folded[:-1] == _DIGIT))
    first = bounds[:-1][bounds[:-1] < len(kept)]
    kept[first] |= folded[first] == _DIGIT  # the digit before it is on another line
    places = np.zeros(len(kept) + 1, dtype=np.int64)
    np.cumsum(kept, out=places[1:])
    starts, stops = places[bounds[:-1]], places[bounds[1:]]
    forward, backward = powers(_BASE, max(1024, 1 << int(places[-1]).bit_length()))
    sums = np.zeros(int(places[-1]) + 1, dtype=np.uint64)
    np.cumsum(_mixed()[folded[kept]] * forward[: places[-1]], out=sums[1:])
    keys = mix64((sums[stops] - sums[starts]) * backward[starts] + (stops - starts).astype(np.uint64))
    owners = compute.list_parent_indices(split).to_numpy().astype(np.int64)
    first_lines = np.searchsorted(owners, owners)
    # The line feeds are not in `content`: one for each line before this one in its text.
    begins = bounds[:-1] - bounds[first_lines] + np.arange(len(owners)) - first_lines
    sizes = compute.binary_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.minimum(begins + np.diff(bounds) + 1, sizes[owners])
    return np.where(stops - starts < least, np.uint64(0), keys), owners, begins, ends


@lru_cache(maxsize=1)
def _fold() -> npt.NDArray[np.uint8]:
    """Each byte as it counts: letters in lower case, digits as 0, white space as a space."""
    fold = np.arange(256, dtype=np.uint8)
    for code in range(128):
        character = chr(code)
        fold[code] = _SPACE if character.isspace() else _DIGIT if character.isdigit() else ord(character.lower())
    return fold


@lru_cache(maxsize=1)
def _mixed() -> U64:
    """A 64-bit number for each byte."""
    return mix64(np.arange(1, 257, dtype=np.uint64))
