"""Exact duplicates on any engine: of the rows of one key the preferred one stays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import ClassVar

import pyarrow as pa

from headwater.data.arrow import column, compute, table, values
from headwater.data.collect.urls import url_key
from headwater.data.earlier import Earlier
from headwater.data.engine import BatchFunction, Dataset, Engine, Needs
from headwater.data.firsts import with_first
from headwater.data.operators import exact_dedup
from headwater.data.operators.exact_dedup import DECISIONS, KEYS, ExactDedupConfig
from headwater.data.row_keys import id_of


def exact_duplicates(engine: Engine, alive: Dataset, config: ExactDedupConfig, earlier: Earlier) -> Dataset:
    """Rows of `DECISIONS` about rows of equal text."""
    function = Repeated(exact_dedup.NAME, exact_dedup.REASON, earlier)
    return _repeated(engine, "exact", alive, TextKeys(config.normalize), earlier.read(engine, "texts", KEYS), function)


def url_duplicates(engine: Engine, alive: Dataset, earlier: Earlier) -> Dataset:
    """Rows of `DECISIONS` about rows of one canonical URL."""
    function = Repeated(exact_dedup.URL_NAME, exact_dedup.URL_REASON, earlier)
    return _repeated(engine, "url", alive, UrlKeys(), earlier.read(engine, "urls", KEYS), function)


def _repeated(
    engine: Engine, stage: str, alive: Dataset, keys: BatchFunction, theirs: Dataset | None, function: BatchFunction
) -> Dataset:
    own = engine.map_batches(f"{stage}-keys", alive, keys)["keys"]
    met = with_first(engine, f"{stage}-firsts", own, KEYS, earlier=theirs)
    return engine.map_batches(stage, met, function)["decisions"]


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
class Repeated:
    """The rows whose key a preferred row has already: that one stays."""

    name: str
    reason: str
    earlier: Earlier
    needs: ClassVar[Needs] = Needs(("row", "first_row"), valid="first_row")
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"decisions": DECISIONS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `KEYS` with the first row of each key."""
        rows, first = column(batch, "row"), column(batch, "first_row")
        gone = compute.fill_null(compute.not_equal(rows, first), False)
        rows, kept = rows.filter(gone), first.filter(gone).to_pylist()
        same = {"operator": [self.name] * len(kept), "reason": [self.reason] * len(kept)}
        equal = {"jaccard": 1.0} if self.name == exact_dedup.NAME else {}  # of one URL, texts may differ
        details = [json.dumps({"kept": id_of(row), **equal, **self.earlier.origin(row)}) for row in kept]
        return {"decisions": table({"row": rows, **same, "detail": details}, DECISIONS)}
