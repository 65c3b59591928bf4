"""Exact duplicates on any engine: rows of one key meet, and the preferred one stays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import ClassVar

import numpy as np
import pyarrow as pa

from headwater.data.arrow import compute, table, take, values
from headwater.data.collect.urls import url_key
from headwater.data.earlier import Earlier
from headwater.data.engine import Dataset, Engine, Needs
from headwater.data.operators import exact_dedup
from headwater.data.operators.exact_dedup import DECISIONS, KEYS, ExactDedupConfig
from headwater.data.row_keys import id_of
from headwater.data.shuffle import plain


def exact_duplicates(engine: Engine, alive: Dataset, config: ExactDedupConfig, earlier: Earlier) -> Dataset:
    """Rows of `DECISIONS` about rows of equal text."""
    keys = earlier.beside(engine, "texts", engine.derive(alive, TextKeys(config.normalize)), KEYS)
    return engine.group_by_key(
        "exact", keys, ["key"], ["row"], KeepFirst(exact_dedup.NAME, exact_dedup.REASON, earlier)
    )


def url_duplicates(engine: Engine, alive: Dataset, earlier: Earlier) -> Dataset:
    """Rows of `DECISIONS` about rows of one canonical URL."""
    keys = earlier.beside(engine, "urls", engine.derive(alive, UrlKeys()), KEYS)
    return engine.group_by_key(
        "url", keys, ["key"], ["row"], KeepFirst(exact_dedup.URL_NAME, exact_dedup.URL_REASON, earlier)
    )


@dataclass(frozen=True)
class Alive:
    """The columns of undecided rows that global steps look at."""

    outputs: Mapping[str, pa.Schema]

    @property
    def needs(self) -> Needs:
        """A choice of rows and columns, and nothing else."""
        ((_, schema),) = self.outputs.items()
        return Needs(tuple(schema.names), null="operator", is_all=True)

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
    needs: ClassVar[Needs] = Needs(("row", "text"))
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"keys": KEYS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `row` and `text`."""
        hashes = exact_dedup.text_keys(batch.column("text"), self.normalize).cast(pa.binary())
        return {"keys": table({"key": hashes, "row": batch.column("row")}, KEYS)}


@dataclass(frozen=True)
class UrlKeys:
    """The hash of each canonical URL (query arguments sorted, escapes in one spelling, no fragment)."""

    needs: ClassVar[Needs] = Needs(("row", "url"))
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
    earlier: Earlier
    output: pa.Schema = DECISIONS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `KEYS` by key, in order of preference."""
        keys = plain(groups.column("key"))
        fresh = np.ones(len(keys), dtype=np.bool_)
        fresh[1:] = keys[1:] != keys[:-1]
        first = np.maximum.accumulate(np.where(fresh, np.arange(len(keys)), 0))
        gone = np.flatnonzero(~fresh)
        kept: list[bytes] = take(groups.column("row"), first[gone]).to_pylist()
        same = {"operator": [self.name] * len(gone), "reason": [self.reason] * len(gone)}
        equal = {"jaccard": 1.0} if self.name == exact_dedup.NAME else {}  # of one URL, texts may differ
        details = [json.dumps({"kept": id_of(row), **equal, **self.earlier.origin(row)}) for row in kept]
        return table({"row": take(groups.column("row"), gone), **same, "detail": details}, DECISIONS)
