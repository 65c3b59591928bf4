"""`headwater data run`: WARC records to documents. The pipeline is written once, against the `Engine` protocol."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from headwater.core.documents import DOCUMENTS, REJECTED
from headwater.core.errors import DataError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, Parent, parent_of
from headwater.core.storage import atomic_write, storage_errors
from headwater.data import PRODUCER, funnel, warc_parts
from headwater.data.config import DocumentsConfig
from headwater.data.engine import Dataset, Engine
from headwater.data.engines.choose import open_engine
from headwater.data.near import near_duplicates
from headwater.data.operators import exact_dedup, minhash_dedup
from headwater.data.operators.base import Operator, OperatorConfig
from headwater.data.operators.decontaminate import Decontaminate
from headwater.data.operators.read import Read
from headwater.data.outcome import Outcome
from headwater.data.rows import ROWS
from headwater.data.sinks import write_parquet
from headwater.data.steps import SUMS_BY, AddCounts, Filter, Finish, KeepFirst
from headwater.data.warc_parts import WarcPart


def make_documents(layout: RunLayout, config: DocumentsConfig) -> Outcome:
    """Makes RUN/documents from RUN/raw and RUN/items.

    Args:
        layout: The run folder.
        config: The section `documents`.

    Raises:
        DataError: Nothing is left after the filters, or a worker was lost.
        ManifestError: A parent is missing or half-written.
        StorageError: The disk refused.
    """
    parents = _parents(layout, config)
    writer = ArtifactWriter(layout.documents, kind="documents", name="documents", producer=PRODUCER,
                            config=config.content(), parents=parents)  # fmt: skip
    finished = writer.up_to_date()
    if finished is not None:
        return Outcome(finished, False, json.loads((layout.documents / "funnel.json").read_text()))
    work = writer.begin()
    parts = warc_parts.plan([(s, layout.raw(s)) for s in sorted(config.sources)], config.engine.partition_bytes, work)
    with open_engine(config.engine, work / warc_parts.fingerprint(parts)) as engine:
        kept, rejected, counts = documents_pipeline(engine, parts, config, layout.items / "items.parquet")
        found = funnel.build([engine.collect(counts)], _names(config))
        try:
            funnel.refuse_empty(found, config.allow_empty_sources)
        except DataError:
            shutil.rmtree(work, ignore_errors=True)
            raise
        _write(engine, kept, rejected, layout.documents, found, config.rows_per_file)
    atomic_write(layout.documents / "funnel.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return Outcome(writer.commit(_counters(found)), True, found)


def documents_pipeline(
    engine: Engine, parts: Sequence[WarcPart], config: DocumentsConfig, items: Path
) -> tuple[Dataset, Dataset, Dataset]:
    """The pipeline: filter → exact duplicates → near-duplicates → decontaminate.

    Returns:
        Kept documents; rejected ones; counters.
    """
    chains = {s: [Read(OperatorConfig()), *(step.build() for step in steps)] for s, steps in config.sources.items()}
    step = Filter(chains, config.ranks(), config.exact_dedup, config.minhash_dedup, config.validation_ratio)
    filtered = engine.map_batches("filter", engine.read(parts, ROWS), step)
    rows = filtered["kept"]
    decisions: list[Dataset] = []
    if config.exact_dedup:
        decisions.append(engine.group_by_key("exact", filtered["keys"], ["key"], ["row"], KeepFirst()))
    if config.minhash_dedup:
        left = filtered["signatures"]
        if decisions:
            left = engine.join(left, decisions[0], left_on="row", right_on="row")
        decisions.append(near_duplicates(engine, rows, left, config.minhash_dedup))
    if decisions:
        rows = engine.join(rows, engine.union(decisions), left_on="row", right_on="row")
    last: list[Operator] = [Decontaminate(config.decontaminate, items)] if config.decontaminate else []
    done = engine.map_batches("finish", rows, Finish(_global_names(config), last, config.validation_ratio))
    counts = engine.union([filtered["counts"], done["counts"]])
    return (
        done["kept"],
        engine.union([filtered["rejected"], done["rejected"]]),
        engine.group_by_key("counts", counts, SUMS_BY, [], AddCounts()),
    )


def _global_names(config: DocumentsConfig) -> tuple[str, ...]:
    names = [exact_dedup.NAME] if config.exact_dedup else []
    return tuple(names + ([minhash_dedup.NAME] if config.minhash_dedup else []))


def _names(config: DocumentsConfig) -> dict[str, list[str]]:
    """Every source's operators, in order, with the global ones."""
    last = [*_global_names(config), *([Decontaminate.name] if config.decontaminate else [])]
    return {source: [Read.name, *(step.name for step in steps), *last] for source, steps in config.sources.items()}


def _parents(layout: RunLayout, config: DocumentsConfig) -> list[Parent]:
    here = layout.documents
    parents = [parent_of(here, layout.raw(source), f"raw/{source}") for source in sorted(config.sources)]
    if config.decontaminate:
        parents.append(parent_of(here, layout.items, "items"))
    return parents


def _write(
    engine: Engine, kept: Dataset, rejected: Dataset, folder: Path, found: dict[str, Any], rows_per_file: int
) -> None:
    """Writes the parts, and removes those of an earlier attempt that have another name."""
    sources = found["sources"].items()
    left = {source: rows["documents_out"] for source, rows in sources}
    gone = {source: rows["documents_in"] - rows["documents_out"] for source, rows in sources}
    jobs: list[tuple[str, Dataset, Path, pa.Schema, list[str], dict[str, int]]] = [
        ("kept", kept, folder, DOCUMENTS, ["source", "id"], left),
        ("rejected", rejected, folder / "rejected", REJECTED, ["source", "id", "warc_file", "warc_offset"], gone),
    ]
    for name, rows, place, schema, order, documents in jobs:
        written = write_parquet(engine, name, rows, place, schema=schema, order=order, documents=documents,
                                rows_per_file=rows_per_file)  # fmt: skip
        with storage_errors("write", place):
            for old in place.glob("part-*.parquet"):
                if old.name not in written:
                    old.unlink()


def _counters(found: dict[str, Any]) -> dict[str, Any]:
    sources = {
        source: {key: rows[key] for key in ("documents_in", "documents_out", "bytes_out")}
        for source, rows in found["sources"].items()
    }
    return {**found["total"], "sources": sources}
