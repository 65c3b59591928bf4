"""Which bucket a document belongs to: exact quantiles of a figure that an operator gave, ties by id.

A curriculum trains on easy documents first (Bengio et al., ICML 2009); perplexity under a model is the usual measure of
how hard a text is. Buckets make that a matter of the mixture: each is a source, stages say when it comes, and the order
of samples stays what it is. The figures are in the verdicts of the documents, which are the same on every engine, or in
an artifact of a checkpoint's; which rank a document has does not depend on how the rows are cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.buckets import bucket_names
from headwater.core.errors import DataError
from headwater.core.figures import figures_of
from headwater.core.storage import storage_errors
from headwater.data.arrow import compute
from headwater.data.tokens.config import BucketsConfig

Key = tuple[float, str]
"""A document's figure and id, by which documents are ranked."""


class Bucket(NamedTuple):
    """A bucket: the documents of a source from one key up to another.

    Attributes:
        name: Of its tokens.
        by: The operator whose figure counts, or "checkpoint".
        low: The first document's key; none: from the lowest on.
        high: The key of the first document of the next bucket; none: up to the highest.
        unscored: Whether it takes the documents without a figure.
        figures: Folder of a checkpoint's figures.
    """

    name: str
    by: str
    low: Key | None
    high: Key | None
    unscored: bool
    figures: str | None = None


def cut(documents: Path, source: str, config: BucketsConfig) -> list[Bucket]:
    """The buckets of a source, lowest figures first; of `n` documents each has `n / count`, to within one.

    Memory: eight bytes a document, and the ids of those whose figure is that of a border.

    Args:
        documents: The documents' folder.
        source: The source.
        config: How it is cut.

    Raises:
        DataError: Documents without a figure and no bucket for them, or fewer documents than buckets.
    """
    found = [scores_of(rows, config.by, config.figures) for rows in _rows(documents, source, _columns(config.figures))]
    scores = np.concatenate(found) if found else np.empty(0)
    known = scores[~np.isnan(scores)]
    if len(known) < len(scores) and config.unscored == "error":
        how = "score them with headwater eval difficulty" if config.figures else f"add {config.by} to its operators"
        raise DataError(
            f"{len(scores) - len(known):,} documents of {source} have no figure of {config.by}",
            expected=f"one for each of the {len(scores):,}",
            hint=f"{how}, or say which bucket takes them: tokens.buckets.{source}.unscored",
        )  # fmt: skip
    if len(known) < config.count:
        raise DataError(f"the source {source} has too few documents to be cut", found=f"{len(known):,} with a figure",
                        expected=f"{config.count} or more, one a bucket")  # fmt: skip
    borders = _borders(documents, source, config, known)
    edges: list[Key | None] = [None, *borders, None]
    return [
        Bucket(name, config.by, edges[place], edges[place + 1], config.unscored == place + 1, config.figures)
        for place, name in enumerate(bucket_names(source, config.count))
    ]


def _borders(
    documents: Path, source: str, config: BucketsConfig, scores: npt.NDArray[np.float64]
) -> list[Key]:  # fmt: skip
    """The keys of the first documents of all buckets but the lowest."""
    ranks = [len(scores) * number // config.count for number in range(1, config.count)]
    values = np.partition(scores, ranks)[ranks]
    ids: dict[float, list[str]] = {float(value): [] for value in values}
    for rows in _rows(documents, source, _columns(config.figures)):
        mine = scores_of(rows, config.by, config.figures)
        for place in np.flatnonzero(np.isin(mine, values)):
            ids[float(mine[place])].append(rows.column("id")[int(place)].as_py())
    return [
        (float(value), sorted(ids[float(value)])[rank - int(np.count_nonzero(scores < value))])
        for rank, value in zip(ranks, values, strict=True)
    ]


def inside(bucket: Bucket, rows: pa.Table) -> pa.Array:
    """Which rows, with `id` and `verdicts`, are of a bucket."""
    scores, ids = scores_of(rows, bucket.by, bucket.figures), np.array(rows.column("id").to_pylist(), dtype=object)
    mine = ~np.isnan(scores)
    if bucket.low is not None:
        score, identifier = bucket.low
        mine &= (scores > score) | ((scores == score) & (ids >= identifier))
    if bucket.high is not None:
        score, identifier = bucket.high
        mine &= (scores < score) | ((scores == score) & (ids < identifier))
    return pa.array(mine | (np.isnan(scores) & bucket.unscored), pa.bool_())


def scores_of(rows: pa.Table, by: str, figures: str | None = None) -> npt.NDArray[np.float64]:
    """The figure that an operator, or a checkpoint, gave each row, shape [rows]; NaN for none."""
    if figures is not None:
        ids: Any = rows.column("id").to_pylist()
        return figures_of(figures, ids)
    scores = np.full(len(rows), np.nan)
    verdicts: Any = rows.column("verdicts").combine_chunks()
    parents = compute.list_parent_indices(verdicts).to_numpy()
    flat = compute.list_flatten(verdicts)
    mine = np.flatnonzero(compute.equal(compute.struct_field(flat, "operator"), by).to_numpy(zero_copy_only=False))
    details = compute.struct_field(flat, "detail").take(pa.array(mine)).to_pylist()
    for place, detail in zip(parents[mine].tolist(), details, strict=True):
        try:
            scores[place] = float(detail)
        except (TypeError, ValueError):
            continue  # words, no figure
    return scores


def _columns(figures: str | None) -> list[str]:
    """Columns that a row's figure and id are in."""
    return ["id", "verdicts"] if figures is None else ["id"]


def _rows(documents: Path, source: str, columns: list[str]) -> Iterator[pa.Table]:
    """The rows of a source, a row group at a time, in the order of the documents."""
    with storage_errors("read", documents):
        for path in sorted(documents.glob("part-*.parquet")):
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    rows = file.read_row_group(group, columns=[*columns, "source"])
                    rows = rows.filter(compute.equal(rows.column("source"), source))
                    if len(rows):
                        yield rows
