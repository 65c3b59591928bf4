"""Candidates for near-duplicates, on any engine: the pairs of rows that share a key, each once.

Of a bucket (the rows of one key) of up to `all_pairs_up_to` rows each pair is a candidate; in a larger one each row is
compared with the first and with its neighbour in order of preference. A bucket of more than `MOST_IN_BUCKET` rows is
parted by the rows' ids, which are hashes, so that no task holds more than a part: each row is compared with the first
of the bucket, and within its part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.core.hashing import mix64
from headwater.data.arrow import column, compute, table, take, values
from headwater.data.earlier import Earlier
from headwater.data.engine import Dataset, Engine
from headwater.data.firsts import firsts
from headwater.data.near_keys import NearConfig, candidate_keys
from headwater.data.operators import minhash_dedup, simhash_dedup
from headwater.data.operators.simhash_dedup import SimhashDedupConfig
from headwater.data.row_keys import RANK_BYTES
from headwater.data.shuffle import differs, plain

PAIRS = pa.schema([pa.field("a", pa.binary()), pa.field("b", pa.binary())])
"""`a` is preferred to `b`: its key is less."""
MOST_IN_BUCKET = 100_000
_ODD = np.uint64(0x9E3779B97F4A7C15)


def candidate_pairs(
    engine: Engine, stage: str, alive: Dataset, config: NearConfig, earlier: Earlier, *,
    most_in_bucket: int = MOST_IN_BUCKET,
) -> Dataset:  # fmt: skip
    """Distinct `PAIRS` to be compared.

    Args:
        engine: Where to run.
        stage: Prefix of the steps' names.
        alive: Rows that take part, with `row` and `text`.
        config: Options of the step.
        earlier: Indexes whose documents take part too; two of theirs are never a pair.
        most_in_bucket: Rows of a key that one task holds.
    """
    function = candidate_keys(config)
    ((name, schema),) = function.outputs.items()
    keys = earlier.beside(engine, "bands", engine.map_batches(f"{stage}-keys", alive, function)[name], schema)
    choose = Choose(config.max_distance if isinstance(config, SimhashDedupConfig) else None, earlier)
    found: list[Dataset] = []
    large = firsts(engine, f"{stage}-large", keys, schema, more_than=most_in_bucket)
    if engine.collect(large).num_rows:  # one row a large bucket
        met = engine.join(keys, large, left_on="key", right_on="key", prefix="first_")
        parted = engine.map_batches(f"{stage}-parts", met, Parts(schema, most_in_bucket, choose))
        keys, found = parted["keys"], [parted["pairs"]]
    within = engine.group_by_key(
        f"{stage}-candidates", keys, ["key"], ["row"], WithinBuckets(config.all_pairs_up_to, choose)
    )
    return engine.group_by_key(f"{stage}-pairs", engine.union([*found, within]), ["a", "b"], [], DistinctPairs())


@dataclass(frozen=True)
class Choose:
    """Which pairs are worth a comparison.

    Attributes:
        max_distance: Bits in which fingerprints may differ, if rows have any.
        earlier: Indexes.
    """

    max_distance: int | None
    earlier: Earlier

    def __call__(self, first: Mapping[str, Any], second: Mapping[str, Any]) -> pa.Table:
        """`PAIRS` of two lists of rows: `row`, and `fingerprint` where there is a distance."""
        pairs = table({"a": first["row"], "b": second["row"]}, PAIRS)
        wanted = compute.not_equal(pairs.column("a"), pairs.column("b"))
        if self.max_distance is not None:
            prints = (each["fingerprint"].to_numpy().view(np.uint64) for each in (first, second))
            wanted = compute.and_(wanted, pa.array(simhash_dedup.distances(*prints) <= self.max_distance))
        if self.earlier.names:  # what two earlier documents have in common is settled
            own = [not self.earlier.is_earlier(row) for row in values(pairs, "b")]
            wanted = compute.and_(wanted, pa.array(own, pa.bool_()))
        return pairs.filter(wanted)


@dataclass(frozen=True)
class Parts:
    """Keys of large buckets become keys of their parts; and each row is paired with the first of its bucket."""

    schema: pa.Schema
    most: int
    choose: Choose
    outputs: Mapping[str, pa.Schema] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", {"keys": self.schema, "pairs": PAIRS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table | pa.RecordBatch]:
        """Reads rows of `near_keys`, joined with the first of each large bucket."""
        rows = compute.fill_null(batch.column("first_rows"), 0).to_numpy()
        ids = compute.binary_slice(batch.column("row"), RANK_BYTES, RANK_BYTES + 4)
        places = np.frombuffer(b"".join(ids.to_pylist()), ">u4").astype(np.uint64)
        part = places * (-(-rows // self.most)).astype(np.uint64) >> np.uint64(32)
        keys = column(batch, "key").to_numpy().view(np.uint64)
        keys = np.where(rows > 0, mix64(keys + (part + np.uint64(1)) * _ODD), keys)
        columns = {name: batch.column(name) for name in self.schema.names[1:]}
        large = batch.filter(pa.array(rows > 0))
        first = {name: column(large, f"first_{name}") for name in columns}
        second = {name: column(large, name) for name in columns}
        return {
            "keys": table({"key": keys.view(np.int64), **columns}, self.schema),
            "pairs": self.choose(first, second),
        }


@dataclass(frozen=True)
class WithinBuckets:
    """Pairs of rows that share a key."""

    limit: int
    choose: Choose
    output: pa.Schema = PAIRS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads rows of `near_keys`, whole groups of a key in order of preference."""
        first, second = minhash_dedup.candidate_pairs(groups.column("key").to_numpy(), self.limit)
        one, other = (
            {name: take(groups.column(name), places) for name in groups.column_names if name != "key"}
            for places in (first, second)
        )
        return self.choose(one, other)


@dataclass(frozen=True)
class DistinctPairs:
    """One row a pair."""

    output: pa.Schema = PAIRS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads sorted `PAIRS`."""
        return groups.filter(pa.array(differs(plain(groups.column("a"))) | differs(plain(groups.column("b")))))
