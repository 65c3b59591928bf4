"""`headwater data index`: what later crawls need to be deduplicated against a run's documents.

An index is an artifact. For each file of documents it holds four parquet files (see `earlier.Part`); shingles are
among them, so that a near-duplicate is verified and not believed. It needs neither the run nor its texts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, parent_of
from headwater.core.storage import storage_errors
from headwater.data import PRODUCER
from headwater.data.arrow import values
from headwater.data.config import DocumentsConfig
from headwater.data.duplicates import TextKeys, UrlKeys
from headwater.data.earlier import Part
from headwater.data.engine import BatchFunction
from headwater.data.engines.processes import Workers, workers_for
from headwater.data.near import Shingle
from headwater.data.near_keys import candidate_keys
from headwater.data.outcome import Outcome
from headwater.data.row_keys import RANK_BYTES, row_keys

_ROWS = 1_000


def options_of(config: DocumentsConfig) -> dict[str, dict[str, Any]]:
    """What decides the content of an index: the options of each step that uses one."""
    exact, near, simhash = config.exact_dedup, config.minhash_dedup, config.simhash_dedup
    options = {
        "exact_dedup": exact.model_dump(mode="json") if exact else {},
        "minhash_dedup": {key: getattr(near, key) for key in ("ngram", "bands", "rows", "seed")} if near else {},
    }
    if simhash:
        options["simhash_dedup"] = {key: getattr(simhash, key) for key in ("ngram", "max_distance")}
    return options


def make_index(layout: RunLayout, config: DocumentsConfig, folder: Path) -> Outcome:
    """Makes an index of RUN/documents.

    Args:
        layout: The run folder.
        config: The section `documents`, for the options of deduplication.
        folder: Where the index goes.

    Raises:
        DataError: A worker was lost.
        ManifestError: The documents are missing or half-written.
        StorageError: The disk refused.
    """
    parents = [parent_of(folder, layout.documents, "documents")]
    writer = ArtifactWriter(folder, kind="index", name="index", producer=PRODUCER, config=options_of(config),
                            parents=parents)  # fmt: skip
    finished = writer.up_to_date()
    if finished is not None:
        return Outcome(finished, False, finished.counters)
    writer.begin()
    documents = sorted(layout.documents.glob("part-*.parquet"))
    functions: dict[Part, BatchFunction] = {"urls": UrlKeys()}
    if config.exact_dedup:
        functions["texts"] = TextKeys(config.exact_dedup.normalize)
    if config.near_dedup:
        functions["bands"] = candidate_keys(config.near_dedup)
        functions["shingles"] = Shingle(config.near_dedup.ngram)
    with Workers(workers_for(config.engine.workers), "documents.engine.workers") as workers:
        workers.run("index", _index_file, [(str(path), str(folder), functions) for path in documents])
    with storage_errors("read", layout.documents):
        counters = {"documents": sum(pq.read_metadata(path).num_rows for path in documents)}
    return Outcome(writer.commit(counters), True, counters)


def _index_file(documents: str, folder: str, functions: Mapping[Part, BatchFunction]) -> None:
    """Writes the files of one file of documents."""
    found: dict[Part, list[pa.Table]] = {part: [] for part in functions}
    with storage_errors("read", documents), pq.ParquetFile(documents) as file:
        for batch in file.iter_batches(_ROWS, columns=["id", "source", "url", "text"]):
            sources = [source.encode() for source in values(batch, "source")]
            keys = [key.as_py()[RANK_BYTES:] for key in row_keys(0, values(batch, "id"), sources)]
            batch = batch.append_column("row", pa.array(keys, pa.binary()))
            for part, function in functions.items():
                ((_, rows),) = function(batch).items()
                found[part].append(pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows)
    for part, tables in found.items():
        ((_, schema),) = functions[part].outputs.items()
        target = Path(folder) / Path(documents).name.replace("part", part, 1)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        with storage_errors("write", target):
            try:
                rows = pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()
                pq.write_table(rows, temporary, compression="zstd")
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
