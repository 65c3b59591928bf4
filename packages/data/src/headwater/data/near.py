"""Near-duplicates on any engine: keys → candidate pairs → verified edges → clusters → who stays.

Two things are decided by the data alone: which pairs are compared (`near_keys`, `near_pairs`), and that a document goes
only if a verified edge ties it to one that stays (`resolve`). However many documents are alike, no step holds more than
a bounded part of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa

from headwater.data.arrow import column, compute, table
from headwater.data.earlier import Earlier
from headwater.data.engine import Dataset, Engine, Needs
from headwater.data.firsts import firsts
from headwater.data.near_keys import NearConfig
from headwater.data.near_pairs import candidate_pairs
from headwater.data.operators import minhash_dedup
from headwater.data.resolve import EDGES, Decide, resolve

ENDS = pa.schema([pa.field("row", pa.binary())])
SHINGLES = pa.schema([pa.field("row", pa.binary()), pa.field("shingles", pa.large_binary())])
"""The sorted hashes, eight bytes each, little end first."""


def near_duplicates(
    engine: Engine, alive: Dataset, config: NearConfig, earlier: Earlier, *, stage: str = "near",
    reason: str = minhash_dedup.REASON,
) -> Dataset:  # fmt: skip
    """Decides which rows go.

    Args:
        engine: Where to run.
        alive: Rows that take part, with `row` and `text`.
        config: Options, of `minhash_dedup` or of `simhash_dedup`.
        earlier: Indexes whose documents take part too.
        stage: Prefix of the steps' names.
        reason: Of the rejections.

    Returns:
        Rows of `DECISIONS`.
    """
    pairs = candidate_pairs(engine, stage, alive, config, earlier)
    wanted = firsts(engine, f"{stage}-wanted", engine.derive(pairs, Ends()), ENDS)
    found = engine.join(alive, wanted, left_on="row", right_on="row", prefix="wanted_")
    shingles = engine.map_batches(f"{stage}-shingles", found, Shingle(config.ngram))["shingles"]
    theirs = earlier.read(engine, "shingles", SHINGLES)
    if theirs is not None:
        theirs = engine.join(theirs, wanted, left_on="row", right_on="row", prefix="wanted_")
        shingles = engine.union([shingles, engine.derive(theirs, Wanted())])
    both = engine.join(pairs, shingles, left_on="a", right_on="row", prefix="a_")
    both = engine.join(both, shingles, left_on="b", right_on="row", prefix="b_")
    edges = engine.map_batches(f"{stage}-verify", both, Verify(config.min_jaccard))["edges"]
    return resolve(engine, stage, edges, Decide(config.name, reason, earlier))


@dataclass(frozen=True)
class Ends:
    """The rows that a pair names."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"rows": ENDS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `PAIRS`."""
        return {"rows": table({"row": pa.concat_arrays([column(batch, "a"), column(batch, "b")])}, ENDS)}


@dataclass(frozen=True)
class Shingle:
    """The n-gram sets of the rows that are in a pair."""

    ngram: int
    needs: ClassVar[Needs] = Needs(("row", "text", "wanted_rows"), valid="wanted_rows")
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"shingles": SHINGLES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads rows with `row` and `text`, joined with the rows that pairs name or not."""
        if "wanted_rows" in batch.schema.names:
            batch = batch.filter(compute.is_valid(batch.column("wanted_rows")))
        found = [each.astype("<u8").tobytes() for each in minhash_dedup.shingle_sets(batch.column("text"), self.ngram)]
        return {"shingles": table({"row": batch.column("row"), "shingles": pa.array(found, pa.large_binary())})}


@dataclass(frozen=True)
class Wanted:
    """The shingles, of those that an index has, that a pair needs."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"shingles": SHINGLES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """Reads `SHINGLES` joined with the rows that pairs name."""
        return {"shingles": batch.filter(compute.is_valid(batch.column("wanted_rows"))).select(SHINGLES.names)}


@dataclass(frozen=True)
class Verify:
    """Of the candidate pairs, those whose true Jaccard similarity is high enough."""

    min_jaccard: float
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"edges": EDGES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `PAIRS` joined with the shingles of both ends."""
        first, second = (
            [np.frombuffer(cell.as_buffer(), "<u8") for cell in batch.column(name)]
            for name in ("a_shingles", "b_shingles")
        )
        found = minhash_dedup.jaccards(first, second)
        edges = table({"a": batch.column("a"), "b": batch.column("b"), "jaccard": pa.array(found)}, EDGES)
        return {"edges": edges.filter(pa.array(found >= self.min_jaccard))}
