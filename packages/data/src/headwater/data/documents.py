"""`headwater data run`: WARC records to documents. The pipeline is written once, against the `Engine` protocol."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headwater.core.documents import DOCUMENTS, REJECTED
from headwater.core.errors import DataError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, Parent, parent_of
from headwater.core.storage import atomic_write, storage_errors
from headwater.data import PRODUCER, funnel, warc_parts
from headwater.data.config import DocumentsConfig
from headwater.data.engine import Dataset, Engine
from headwater.data.engines.local import LocalEngine, clear
from headwater.data.engines.processes import workers_for
from headwater.data.operators import exact_dedup, minhash_dedup
from headwater.data.operators.base import Operator, OperatorConfig
from headwater.data.operators.decontaminate import Decontaminate
from headwater.data.operators.exact_dedup import DECISIONS
from headwater.data.operators.read import Read
from headwater.data.outcome import Outcome
from headwater.data.rows import ROWS
from headwater.data.steps import (
    PAIRS,
    WANTED,
    Candidates,
    Distinct,
    Ends,
    Explode,
    Filter,
    Finish,
    KeepFirst,
    Resolve,
    Shingle,
    Verify,
)
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
    with LocalEngine(work / warc_parts.fingerprint(parts), workers_for(config.engine.workers)) as engine:
        kept, rejected, counts = documents_pipeline(engine, parts, config, layout.items / "items.parquet")
        found = funnel.build([engine.collect(part) for part in counts], _names(config))
        try:
            funnel.refuse_empty(found, config.allow_empty_sources)
        except DataError:
            clear(work)
            raise
        _replace_files(engine, kept, rejected, layout.documents, config.rows_per_file)
    atomic_write(layout.documents / "funnel.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return Outcome(writer.commit(_counters(found)), True, found)


def documents_pipeline(
    engine: Engine, parts: Sequence[WarcPart], config: DocumentsConfig, items: Path
) -> tuple[Dataset, list[Dataset], list[Dataset]]:
    """The pipeline: filter → exact duplicates → near-duplicates → decontaminate.

    Returns:
        Kept documents; rejected ones; counters.
    """
    chains = {s: [Read(OperatorConfig()), *(step.build() for step in steps)] for s, steps in config.sources.items()}
    ranks = config.ranks()
    step = Filter(chains, ranks, config.exact_dedup, config.minhash_dedup, config.validation_ratio)
    filtered = engine.map_batches("filter", engine.read(parts, ROWS), step)
    decisions: list[Dataset] = []
    signatures = filtered["signatures"]
    if config.exact_dedup:
        exact = engine.group_by_key("exact", [filtered["keys"]], ["key"], ["rank", "id", "row"], KeepFirst())
        decisions.append(exact)
        signatures = engine.join(signatures, exact, left_on="row", right_on="row")
    if config.minhash_dedup:
        decisions.append(_near(engine, filtered["kept"], signatures, config, ranks))
    rows = filtered["kept"]
    if decisions:
        decided = engine.group_by_key("decided", decisions, ["row"], ["operator"], Distinct(("row",), DECISIONS))
        rows = engine.join(rows, decided, left_on="row", right_on="row")
    last: list[Operator] = [Decontaminate(config.decontaminate, items)] if config.decontaminate else []
    done = engine.map_batches("finish", rows, Finish(_global_names(config), last, config.validation_ratio))
    return done["kept"], [filtered["rejected"], done["rejected"]], [filtered["counts"], done["counts"]]


def _near(
    engine: Engine, kept: Dataset, signatures: Dataset, config: DocumentsConfig, ranks: dict[str, int]
) -> Dataset:
    """Decisions about near-duplicates: bands → candidate pairs → verified edges → components → who stays."""
    options = config.minhash_dedup
    assert options is not None
    order = ["rank", "id", "row"]
    bands = engine.map_batches("bands", signatures, Explode())["bands"]
    again = engine.group_by_key("candidates", [bands], ["key"], order, Candidates(options.all_pairs_up_to))
    pairs = engine.group_by_key("pairs", [again], ["a", "b"], [], Distinct(("a", "b"), PAIRS))
    ends = engine.map_batches("ends", pairs, Ends())["rows"]
    wanted = engine.group_by_key("wanted", [ends], ["row"], [], Distinct(("row",), WANTED))
    rows = engine.join(kept, wanted, left_on="row", right_on="row")
    shingles = engine.map_batches("shingles", rows, Shingle(options.ngram, ranks))["shingles"]
    both = engine.join(pairs, shingles, left_on="a", right_on="row", prefix="a_")
    both = engine.join(both, shingles, left_on="b", right_on="row", prefix="b_")
    edges = engine.map_batches("verify", both, Verify(options.min_jaccard))["edges"]
    components = engine.connected_components("components", edges)
    members = engine.join(shingles, components, left_on="row", right_on="node")
    return engine.group_by_key("resolve", [members], ["component"], order, Resolve(options.min_jaccard))


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


def _replace_files(engine: Engine, kept: Dataset, rejected: list[Dataset], folder: Path, rows_per_file: int) -> None:
    """Writes the parts; those of an earlier attempt, which may be more, go first."""
    with storage_errors("write", folder):
        for old in [*folder.glob("part-*.parquet"), *(folder / "rejected").glob("part-*.parquet")]:
            old.unlink()
    engine.write([kept], folder, sort_by=["source", "id"], rows_per_file=rows_per_file, schema=DOCUMENTS)
    order = ["source", "id", "warc_file", "warc_offset"]
    engine.write(rejected, folder / "rejected", sort_by=order, rows_per_file=rows_per_file, schema=REJECTED)


def _counters(found: dict[str, Any]) -> dict[str, Any]:
    sources = {
        source: {key: rows[key] for key in ("documents_in", "documents_out", "bytes_out")}
        for source, rows in found["sources"].items()
    }
    return {**found["total"], "sources": sources}
