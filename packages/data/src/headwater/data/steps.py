"""The functions that the documents pipeline gives to an engine. Each looks at one batch, or at whole groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from headwater.core.documents import DOCUMENTS, REJECTED, split_of
from headwater.data.arrow import column, compute, lists, sets, table, take, values
from headwater.data.chain import COUNTS, run_chain
from headwater.data.operators import exact_dedup, minhash_dedup
from headwater.data.operators.apply_decisions import ApplyDecisions, decisions_of
from headwater.data.operators.base import Operator
from headwater.data.operators.exact_dedup import DECISIONS, KEYS, ExactDedupConfig
from headwater.data.operators.minhash_dedup import MinhashDedupConfig
from headwater.data.rows import ROWS, texts_of

SIGNATURES = pa.schema([pa.field("row", pa.string()), pa.field("rank", pa.int32()), pa.field("id", pa.string()),
                        pa.field("bands", pa.list_(pa.uint64()))])  # fmt: skip
BANDS = pa.schema([pa.field("key", pa.uint64()), pa.field("rank", pa.int32()), pa.field("id", pa.string()),
                   pa.field("row", pa.string())])  # fmt: skip
PAIRS = pa.schema([pa.field("a", pa.string()), pa.field("b", pa.string())])
WANTED = pa.schema([pa.field("row", pa.string()), pa.field("wanted", pa.bool_())])
SHINGLES = pa.schema([pa.field("row", pa.string()), pa.field("rank", pa.int32()), pa.field("id", pa.string()),
                      pa.field("shingles", pa.large_list(pa.uint64()))])  # fmt: skip


@dataclass(frozen=True)
class Filter:
    """Runs each source's chain; of what is left it takes the keys for both kinds of deduplication.

    Attributes:
        chains: Source → operators.
        ranks: Source → rank among duplicates.
        exact, minhash: Options; None for what is not wanted.
        validation_ratio: Share held out.
    """

    chains: Mapping[str, Sequence[Operator]]
    ranks: Mapping[str, int]
    exact: ExactDedupConfig | None
    minhash: MinhashDedupConfig | None
    validation_ratio: float
    outputs: Mapping[str, pa.Schema] = field(
        default_factory=lambda: {
            "kept": ROWS,
            "rejected": REJECTED,
            "counts": COUNTS,
            "keys": KEYS,
            "signatures": SIGNATURES,
        }
    )

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table | pa.RecordBatch]:
        """A batch holds rows of one source."""
        source = batch.column("source")[0].as_py()
        done = run_chain(self.chains[source], batch)
        found: dict[str, pa.Table | pa.RecordBatch] = {"kept": done.kept, "counts": done.counts_table(source)}
        found["rejected"] = finished(done.rejected_table(), REJECTED, self.validation_ratio)
        texts = texts_of(done.kept)
        common = {"row": done.kept.column("row"), "id": done.kept.column("id"),
                  "rank": pa.array([self.ranks[source]] * len(texts), pa.int32())}  # fmt: skip
        if self.exact:
            keys = [exact_dedup.text_key(text, self.exact.normalize) for text in texts]
            found["keys"] = table({**common, "key": pa.array(keys, pa.binary(16))})
        if self.minhash:
            bands = minhash_dedup.band_keys(minhash_dedup.shingle_sets(texts, self.minhash.ngram), self.minhash)
            found["signatures"] = table({**common, "bands": lists(list(bands))})
        return found


@dataclass(frozen=True)
class KeepFirst:
    """Exact duplicates: the first row of each key stays."""

    output: pa.Schema = DECISIONS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """See `exact_dedup.keep_first`."""
        return exact_dedup.keep_first(groups)


@dataclass(frozen=True)
class Explode:
    """One row a band of each signature whose document is not an exact duplicate."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"bands": BANDS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads signatures joined with decisions."""
        if "operator" in batch.schema.names:
            batch = batch.filter(compute.is_null(batch.column("operator")))
        bands = column(batch, "bands")
        owner = compute.list_parent_indices(bands)
        common = {name: column(batch, name).take(owner) for name in ("rank", "id", "row")}
        rows = table({**common, "key": bands.flatten()})
        return {
            "bands": rows.filter(compute.not_equal(rows.column("key"), pa.scalar(0, pa.uint64())))
        }  # zero: a text without a word


@dataclass(frozen=True)
class Candidates:
    """Pairs of rows that share a band."""

    limit: int
    output: pa.Schema = PAIRS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `BANDS`, whole groups of a key in order."""
        a, b = minhash_dedup.candidate_pairs(groups.column("key").to_numpy(), self.limit)
        rows = groups.column("row")
        return table({"a": take(rows, a), "b": take(rows, b)})


@dataclass(frozen=True)
class Distinct:
    """The first row of each group."""

    keys: tuple[str, ...]
    output: pa.Schema

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads rows sorted by the keys."""
        fresh = np.ones(groups.num_rows, dtype=np.bool_)
        if groups.num_rows > 1:
            same = np.ones(groups.num_rows - 1, dtype=np.bool_)
            for key in self.keys:
                part = groups.column(key)
                same &= compute.equal(part.slice(1), part.slice(0, groups.num_rows - 1)).to_numpy()
            fresh[1:] = ~same
        return groups.filter(pa.array(fresh))


@dataclass(frozen=True)
class Ends:
    """The rows that a pair names."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"rows": WANTED})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `PAIRS`."""
        rows = pa.concat_arrays([batch.column("a"), batch.column("b")])
        return {"rows": table({"row": rows, "wanted": pa.array([True] * len(rows))})}


@dataclass(frozen=True)
class Shingle:
    """The n-gram sets of the rows that are in a pair."""

    ngram: int
    ranks: Mapping[str, int]
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"shingles": SHINGLES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads rows joined with `WANTED`."""
        batch = batch.filter(compute.is_valid(batch.column("wanted")))
        ranks = [self.ranks[source] for source in values(batch, "source")]
        found = minhash_dedup.shingle_sets(texts_of(batch), self.ngram)
        return {
            "shingles": table(
                {"row": batch.column("row"), "id": batch.column("id"), "rank": pa.array(ranks, pa.int32()),
                 "shingles": lists(found, large=True)}
            )
        }  # fmt: skip


@dataclass(frozen=True)
class Verify:
    """Of the candidate pairs, those whose true Jaccard similarity is high enough."""

    min_jaccard: float
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"edges": PAIRS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table | pa.RecordBatch]:
        """Reads `PAIRS` joined with the shingles of both ends."""
        first, second = sets(batch.column("a_shingles")), sets(batch.column("b_shingles"))
        near = [minhash_dedup.jaccard(a, b) >= self.min_jaccard for a, b in zip(first, second, strict=True)]
        return {"edges": batch.select(["a", "b"]).filter(pa.array(near, pa.bool_()))}


@dataclass(frozen=True)
class Resolve:
    """Who stays in each cluster."""

    min_jaccard: float
    output: pa.Schema = DECISIONS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `SHINGLES` with a column `component`, whole components in order of preference."""
        groups = groups.filter(compute.is_valid(groups.column("component"))).combine_chunks()
        components = values(groups, "component")
        ids, rows = values(groups, "id"), values(groups, "row")
        shingles = sets(groups.column("shingles"))
        decisions: list[dict[str, str]] = []
        start = 0
        while start < len(components):
            end = start
            while end < len(components) and components[end] == components[start]:
                end += 1
            for place, found in enumerate(minhash_dedup.resolve(shingles[start:end], self.min_jaccard)):
                if found is not None:
                    detail = minhash_dedup.detail(ids[start + found[0]], found[1])
                    decisions.append({"row": rows[start + place], "operator": minhash_dedup.NAME,
                                      "reason": minhash_dedup.REASON, "detail": detail})  # fmt: skip
            start = end
        return pa.Table.from_pylist(decisions, schema=DECISIONS)


@dataclass(frozen=True)
class Finish:
    """Applies what deduplication decided, decontaminates what is left, and makes documents of rows.

    Attributes:
        names: The deduplication operators in use, in order.
        operators: What still looks at each document.
        validation_ratio: Share held out.
    """

    names: tuple[str, ...]
    operators: Sequence[Operator]
    validation_ratio: float
    outputs: Mapping[str, pa.Schema] = field(
        default_factory=lambda: {"kept": DOCUMENTS, "rejected": REJECTED, "counts": COUNTS}
    )

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table | pa.RecordBatch]:
        """Reads rows joined with decisions."""
        source = batch.column("source")[0].as_py()
        decided = decisions_of(batch) if self.names else {}
        applied = [ApplyDecisions(name, decided) for name in self.names]
        done = run_chain([*applied, *self.operators], batch.select(ROWS.names))
        kept = finished(pa.Table.from_batches([done.kept]), DOCUMENTS, self.validation_ratio)
        return {"kept": kept, "rejected": finished(done.rejected_table(), REJECTED, self.validation_ratio),
                "counts": done.counts_table(source)}  # fmt: skip


def finished(rows: pa.Table, schema: pa.Schema, validation_ratio: float) -> pa.Table:
    """Rows with the columns that only documents have: `text_bytes` and `split`."""
    sizes = compute.cast(compute.binary_length(rows.column("text")), pa.int64())
    splits = [split_of(identifier, validation_ratio) for identifier in values(rows, "id")]
    rows = rows.append_column("text_bytes", sizes).append_column("split", pa.array(splits, pa.string()))
    return rows.select(schema.names).cast(schema)
