"""Exact duplicates on any engine: rows of one key meet, and the preferred one stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import pyarrow as pa

from headwater.data.arrow import compute, table, values
from headwater.data.collect.urls import url_key
from headwater.data.engine import Dataset, Engine
from headwater.data.operators import exact_dedup
from headwater.data.operators.exact_dedup import DECISIONS, KEYS, ExactDedupConfig
from headwater.data.rows import texts_of


def exact_duplicates(engine: Engine, alive: Dataset, config: ExactDedupConfig) -> Dataset:
    """Rows of `DECISIONS` about rows of equal text."""
    keys = engine.derive(alive, TextKeys(config.normalize))
    return engine.group_by_key("exact", keys, ["key"], ["row"], KeepFirst(exact_dedup.NAME, exact_dedup.REASON))


def url_duplicates(engine: Engine, alive: Dataset) -> Dataset:
    """Rows of `DECISIONS` about rows of one canonical URL."""
    keys = engine.derive(alive, UrlKeys())
    return engine.group_by_key("url", keys, ["key"], ["row"], KeepFirst(exact_dedup.URL_NAME, exact_dedup.URL_REASON))


@dataclass(frozen=True)
class Alive:
    """The columns of undecided rows that global steps look at."""

    outputs: Mapping[str, pa.Schema]

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """Reads rows, joined with decisions or not."""
        if "operator" in batch.schema.names:
            batch = batch.filter(compute.is_null(batch.column("operator")))
        ((name, schema),) = self.outputs.items()
        return {name: batch.select(schema.names)}


@dataclass(frozen=True)
class TextKeys:
    """The hash of each text."""

    normalize: bool
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"keys": KEYS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `row` and `text`."""
        hashes = [exact_dedup.text_key(text, self.normalize) for text in texts_of(batch)]
        return {"keys": table({"key": pa.array(hashes, pa.binary()), "row": batch.column("row")}, KEYS)}


@dataclass(frozen=True)
class UrlKeys:
    """The hash of each canonical URL (query arguments sorted, escapes in one spelling, no fragment)."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"keys": KEYS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `row` and `url`."""
        hashes = [blake2b(url_key(url).encode(), digest_size=16).digest() for url in values(batch, "url")]
        return {"keys": table({"key": pa.array(hashes, pa.binary()), "row": batch.column("row")}, KEYS)}


@dataclass(frozen=True)
class KeepFirst:
    """The preferred row of each key stays."""

    name: str
    reason: str
    output: pa.Schema = DECISIONS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """See `exact_dedup.keep_first`."""
        return exact_dedup.keep_first(groups, self.name, self.reason)
