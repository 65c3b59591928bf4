"""The keys that find candidates for near-duplicates: texts that share one are compared. MinHash has bands, SimHash
blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa

from headwater.data.arrow import column, compute, table, take
from headwater.data.engine import Needs
from headwater.data.operators import minhash_dedup, simhash_dedup
from headwater.data.operators.minhash_dedup import MinhashDedupConfig
from headwater.data.operators.simhash_dedup import SimhashDedupConfig

NearConfig = MinhashDedupConfig | SimhashDedupConfig

BANDS = pa.schema([pa.field("key", pa.int64()), pa.field("row", pa.binary())])
BLOCKS = pa.schema([*BANDS, pa.field("fingerprint", pa.int64())])


@dataclass(frozen=True)
class Bands:
    """One row for each band of each text's signature."""

    config: MinhashDedupConfig
    needs: ClassVar[Needs] = Needs(("row", "text"))
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"bands": BANDS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `row` and `text`."""
        keys = minhash_dedup.signatures(batch.column("text"), self.config)
        owners = np.repeat(np.arange(batch.num_rows), self.config.bands)
        rows = take(column(batch, "row"), owners)
        found = table({"key": pa.array(keys.ravel().view(np.int64)), "row": rows}, BANDS)
        return {"bands": found.filter(compute.not_equal(found.column("key"), 0))}  # zero: a text without a word


@dataclass(frozen=True)
class Blocks:
    """One row for each two blocks of each text's fingerprint."""

    config: SimhashDedupConfig
    needs: ClassVar[Needs] = Needs(("row", "text"))
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"blocks": BLOCKS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `row` and `text`."""
        prints, has_words = simhash_dedup.fingerprints(batch.column("text"), self.config.ngram)
        owners = np.repeat(np.flatnonzero(has_words), self.config.keys)
        keys = simhash_dedup.block_keys(prints[has_words], self.config.max_distance)
        columns = {"key": pa.array(keys.ravel().view(np.int64)), "row": take(column(batch, "row"), owners),
                   "fingerprint": pa.array(prints[owners].view(np.int64))}  # fmt: skip
        return {"blocks": table(columns, BLOCKS)}


def candidate_keys(config: NearConfig) -> Bands | Blocks:
    """The function that makes the keys of a step."""
    return Bands(config) if isinstance(config, MinhashDedupConfig) else Blocks(config)
