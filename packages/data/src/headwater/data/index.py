"""`headwater data index`: what later crawls need to be deduplicated against a run's documents.

An index is an artifact. For each file of documents it holds a parquet file for each `earlier.Part`; shingles are among
them, so that a near-duplicate is verified and not believed, and for `substring_dedup` the texts. It needs no run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, parent_of
from headwater.core.storage import storage_errors
from headwater.data import PRODUCER
from headwater.data.arrow import table, take, values
from headwater.data.config import DocumentsConfig
from headwater.data.duplicates import TextKeys, UrlKeys
from headwater.data.earlier import Part
from headwater.data.engine import BatchFunction
from headwater.data.engines.processes import Workers, workers_for
from headwater.data.near import Shingle
from headwater.data.near_keys import candidate_keys
from headwater.data.operators import line_dedup, substring_dedup
from headwater.data.operators.apply_cuts import LEFT_ALONE
from headwater.data.outcome import Outcome
from headwater.data.repeated_lines import PLACES, Lines
from headwater.data.row_keys import RANK_BYTES, row_keys
from headwater.data.shuffle import differs, plain, sorted_places
from headwater.data.substrings import ANCHORS, AnchorRows, Passages

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
    if config.line_dedup:
        options["line_dedup"] = {key: getattr(config.line_dedup, key) for key in ("unit", "min_words")}
    if config.substring_dedup:
        options["substring_dedup"] = {"min_tokens": config.substring_dedup.min_tokens}
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
    if config.line_dedup:
        functions["lines"] = CutFrom(line_dedup.NAME, FirstOfEach(Lines(config.line_dedup), PLACES))
    if config.substring_dedup:
        anchors = FirstOfEach(AnchorRows(config.substring_dedup), ANCHORS)
        functions["anchors"] = CutFrom(substring_dedup.NAME, anchors)
        functions["passages"] = CutFrom(substring_dedup.NAME, Passages())
    with Workers(workers_for(config.engine.workers), "documents.engine.workers") as workers:
        workers.run("index", _index_file, [(str(path), str(folder), functions) for path in documents])
    with storage_errors("read", layout.documents):
        counters = {"documents": sum(pq.read_metadata(path).num_rows for path in documents)}
    return Outcome(writer.commit(counters), True, counters)


@dataclass(frozen=True)
class CutFrom:
    """A function over the documents that a step did not leave alone, for example because they are programs.

    Documents do not tell their media type, their verdicts do. All were left alone whose type a recipe exempts; of a run
    without the step, none.
    """

    step: str
    function: BatchFunction

    @property
    def outputs(self) -> Mapping[str, pa.Schema]:
        """Those of the function."""
        return self.function.outputs

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table | pa.RecordBatch]:
        """Reads documents with `row`, `content_type` and what the function reads."""
        left_alone = [
            any(verdict["operator"] == self.step and verdict["detail"].startswith(LEFT_ALONE) for verdict in verdicts)
            for verdicts in values(batch, "verdicts")
        ]
        return self.function(batch.filter(pa.array([not each for each in left_alone], pa.bool_())))


@dataclass(frozen=True)
class FirstOfEach:
    """The rows of a function, of each key in a batch the first.

    Attributes:
        function: Has one output.
        schema: Of the result; the first three columns are the key and the order.
    """

    function: BatchFunction
    schema: pa.Schema
    outputs: Mapping[str, pa.Schema] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", {"rows": self.schema})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads what the function reads."""
        ((_, found),) = self.function(batch).items()
        rows = table({name: found.column(name) for name in self.schema.names}, self.schema)
        rows = take(rows, sorted_places(rows, self.schema.names[:3]))
        return {"rows": rows.filter(pa.array(differs(plain(rows.column("key")))))}


def _index_file(documents: str, folder: str, functions: Mapping[Part, BatchFunction]) -> None:
    """Writes the files of one file of documents."""
    found: dict[Part, list[pa.Table]] = {part: [] for part in functions}
    with storage_errors("read", documents), pq.ParquetFile(documents) as file:
        for batch in file.iter_batches(_ROWS, columns=["id", "source", "url", "text", "verdicts"]):
            sources = [source.encode() for source in values(batch, "source")]
            keys = [key.as_py()[RANK_BYTES:] for key in row_keys(0, values(batch, "id"), sources)]
            batch = batch.append_column("row", pa.array(keys, pa.binary()))
            batch = batch.append_column("content_type", pa.array([""] * batch.num_rows, pa.string()))
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
