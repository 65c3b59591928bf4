"""`headwater data run`: WARC records to documents. The pipeline is written once, against the `Engine` protocol."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from pyarrow import compute

from headwater.core.documents import DOCUMENTS, REJECTED
from headwater.core.errors import DataError, ManifestError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, Parent, parent_of
from headwater.core.storage import atomic_write, storage_errors
from headwater.data import PRODUCER, funnel, warc_parts
from headwater.data.balance import over_share
from headwater.data.config import DocumentsConfig
from headwater.data.duplicates import Alive, exact_duplicates, url_duplicates
from headwater.data.earlier import Earlier
from headwater.data.engine import BatchFunction, Dataset, Engine, Needs, Reader
from headwater.data.engines.choose import open_engine
from headwater.data.held_out import HeldOut
from headwater.data.index import options_of
from headwater.data.item_overlaps import write_item_overlaps
from headwater.data.near import near_duplicates
from headwater.data.operators import (
    exact_dedup,
    host_boilerplate,
    line_dedup,
    minhash_dedup,
    prompt_dedup,
    simhash_dedup,
    substring_dedup,
    task_balance,
)
from headwater.data.operators.apply_cuts import CutConfig
from headwater.data.operators.base import Operator, OperatorConfig
from headwater.data.operators.decontaminate import Decontaminate
from headwater.data.operators.read import Read
from headwater.data.outcome import Outcome
from headwater.data.prompts import near_duplicate_prompts
from headwater.data.repeated_lines import repeated_lines
from headwater.data.rows import ALIVE, REJECTED_ROWS, ROWS
from headwater.data.sinks import write_parquet
from headwater.data.steps import SUMS_BY, AddCounts, Edit, Filter, Settle
from headwater.data.substrings import repeated_substrings
from headwater.data.templates import host_templates

EXAMPLES = pa.schema([REJECTED_ROWS.field(name) for name in ("detail", "warc_file")])


def make_documents(layout: RunLayout, config: DocumentsConfig) -> Outcome:
    """Makes RUN/documents from RUN/raw and RUN/items.

    Args:
        layout: The run folder.
        config: The section `documents`.

    Raises:
        DataError: Nothing is left after the filters, duplicates are more than allowed, or a worker was lost.
        ManifestError: A parent is missing or half-written.
        StorageError: The disk refused.
    """
    layout = RunLayout(layout.root.absolute())  # workers on other machines have another working directory
    parents = _parents(layout, config)
    writer = ArtifactWriter(layout.documents, kind="documents", name="documents", producer=PRODUCER,
                            config=config.content(), parents=parents)  # fmt: skip
    finished = writer.up_to_date()
    if finished is not None:
        return Outcome(finished, False, json.loads((layout.documents / "funnel.json").read_text()))
    Earlier.open(config.earlier, options_of(config))
    work = writer.open_work()
    sources = [(source, layout.raw(source)) for source in sorted(config.sources)]
    with ThreadPoolExecutor(1) as planning:  # reads the files through, while a cluster is being started
        planned = planning.submit(warc_parts.plan, sources, config.engine.partition_bytes, work)
        opened = open_engine(config.engine, work, lambda: warc_parts.fingerprint(planned.result()))
    parts = planned.result()
    with opened as engine:
        writer.begin()  # nothing is left that could be wrong with the recipe: an older artifact may go
        kept, rejected, counts = documents_pipeline(engine, parts, config, layout.items / "items.parquet")
        found = funnel.build([engine.collect(counts)], _names(config))
        found["duplicate_alarms"] = funnel.duplicate_alarms(found, funnel.DUPLICATES, config.expected_duplicates())
        try:
            funnel.refuse_empty(
                found, config.allow_empty_sources, lambda *removed: _example(engine, rejected, Example(*removed))
            )
            _refuse_alarms(found, config)
        except DataError:
            shutil.rmtree(work, ignore_errors=True)
            raise
        _write(engine, kept, rejected, layout.documents, found, config.rows_per_file)
        if config.decontaminate:
            marked = config.decontaminate.action == "mark"
            write_item_overlaps(engine, kept, rejected, layout.documents, marked=marked)
    atomic_write(layout.documents / "funnel.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return Outcome(writer.commit(_counters(found)), True, found)


def documents_pipeline(
    engine: Engine, parts: Sequence[Reader], config: DocumentsConfig, items: Path
) -> tuple[Dataset, Dataset, Dataset]:
    """The pipeline: filter → equal URLs and texts → templates, repeated lines, runs → near-duplicates → items, balance.

    Returns:
        Kept documents; rejected ones; counters.
    """
    chains = {s: [Read(OperatorConfig()), *(step.build() for step in steps)] for s, steps in config.sources.items()}
    filtered = engine.map_batches("filter", engine.read(parts, ROWS), Filter(chains, config.ranks(), config.held_out))
    line = _Line(engine, filtered, config.held_out)
    earlier = Earlier.open(config.earlier, options_of(config))
    if config.url_dedup:
        line.decide(exact_dedup.URL_NAME, url_duplicates(engine, line.alive(), earlier))
    if config.exact_dedup:
        line.decide(exact_dedup.NAME, exact_duplicates(engine, line.alive(), config.exact_dedup, earlier))
    if config.host_boilerplate:
        cuts = host_templates(engine, line.alive(), config.host_boilerplate)
        line.edit(host_boilerplate.NAME, config.host_boilerplate, cuts)
    if config.line_dedup:
        line.edit(line_dedup.NAME, config.line_dedup, repeated_lines(engine, line.alive(), config.line_dedup, earlier))
    if config.substring_dedup:
        cuts = repeated_substrings(engine, line.alive(), config.substring_dedup, earlier)
        line.edit(substring_dedup.NAME, config.substring_dedup, cuts)
    if config.near_dedup:
        line.decide(config.near_dedup.name, near_duplicates(engine, line.alive(), config.near_dedup, earlier))
    if config.prompt_dedup:
        line.decide(prompt_dedup.NAME, near_duplicate_prompts(engine, line.alive(), config.prompt_dedup))
    last: list[Operator] = [Decontaminate(config.decontaminate, items)] if config.decontaminate else []
    if config.task_balance:  # the last of all, so that the shares are those of what stays
        line.apply("settle", line.rows_with_decisions(), Settle(tuple(line.names), last, config.held_out, ROWS))
        line.decide(task_balance.NAME, over_share(engine, line.rows, config.task_balance))
        last = []
    line.apply("finish", line.rows_with_decisions(), Settle(tuple(line.names), last, config.held_out))
    counts = engine.group_by_key("counts", engine.union(line.counts), SUMS_BY, [], AddCounts())
    return line.rows, engine.union(line.rejected), counts


class _Line:
    """The rows on their way through the global steps, and what was decided about them but not yet applied."""

    def __init__(self, engine: Engine, filtered: Mapping[str, Dataset], held_out: HeldOut) -> None:
        self.engine, self.held_out = engine, held_out
        self.rows, self.rejected, self.counts = filtered["kept"], [filtered["rejected"]], [filtered["counts"]]
        self.names: list[str] = []
        self.decisions: list[Dataset] = []

    def alive(self) -> Dataset:
        """The rows that no step decided against, with the columns that global steps look at."""
        return self.engine.derive(self.rows_with_decisions(), Alive({"alive": ALIVE}))

    def decide(self, name: str, decisions: Dataset) -> None:
        """Notes what a step decided."""
        self.names.append(name)
        self.decisions.append(decisions)

    def edit(self, name: str, config: CutConfig, cuts: Dataset) -> None:
        """Applies what was decided so far, and cuts."""
        rows = self.engine.join(self.rows_with_decisions(), cuts, left_on="row", right_on="row")
        self.apply(name, rows, Edit(tuple(self.names), name, config, self.held_out))

    def apply(self, stage: str, rows: Dataset, function: BatchFunction) -> None:
        """Runs a function that settles what is pending."""
        done = self.engine.map_batches(stage, rows, function)
        self.rows = done["kept"]
        self.rejected.append(done["rejected"])
        self.counts.append(done["counts"])
        self.names, self.decisions = [], []

    def rows_with_decisions(self) -> Dataset:
        """The rows, joined with what was decided if any step did."""
        if not self.decisions:
            return self.rows
        return self.engine.join(self.rows, self.engine.union(self.decisions), left_on="row", right_on="row")


def _names(config: DocumentsConfig) -> dict[str, list[str]]:
    """Every source's operators, in order, with the global ones."""
    last = [
        name
        for name, options in (
            (exact_dedup.URL_NAME, config.url_dedup), (exact_dedup.NAME, config.exact_dedup),
            (host_boilerplate.NAME, config.host_boilerplate), (line_dedup.NAME, config.line_dedup),
            (substring_dedup.NAME, config.substring_dedup), (minhash_dedup.NAME, config.minhash_dedup),
            (simhash_dedup.NAME, config.simhash_dedup), (prompt_dedup.NAME, config.prompt_dedup),
            (Decontaminate.name, config.decontaminate), (task_balance.NAME, config.task_balance),
        )
        if options
    ]  # fmt: skip
    return {source: [Read.name, *(step.name for step in steps), *last] for source, steps in config.sources.items()}


def _parents(layout: RunLayout, config: DocumentsConfig) -> list[Parent]:
    here = layout.documents
    parents = [parent_of(here, layout.raw(source), f"raw/{source}") for source in sorted(config.sources)]
    if config.decontaminate:
        try:
            parents.append(parent_of(here, layout.items, "items"))
        except ManifestError as error:
            error.hint = "run: headwater eval items --recipe … --run …, or set documents.decontaminate: null"
            raise
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
            # Also what a writer left that was killed: everything here becomes part of the artifact.
            for old in [*place.glob("part-*.parquet"), *place.glob(".part-*.tmp")]:
                if old.name not in written:
                    old.unlink(missing_ok=True)


@dataclass(frozen=True)
class Example:
    """One document of each batch that an operator removed for a reason: where it lies, and what was said."""

    source: str
    operator: str
    reason: str
    needs: ClassVar[Needs] = Needs(("source", "operator", "reason", "detail", "warc_file"))
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"examples": EXAMPLES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """Reads rejected rows."""
        for name in ("source", "operator", "reason"):
            batch = batch.filter(compute.equal(batch.column(name), getattr(self, name)))
        return {"examples": batch.select(EXAMPLES.names).slice(0, 1)}


def _example(engine: Engine, rejected: Dataset, wanted: Example) -> str:
    found = engine.collect(engine.derive(rejected, wanted)).sort_by("warc_file").to_pylist()
    return f"{found[0]['detail']} (in {found[0]['warc_file']})" if found else ""


def _refuse_alarms(found: dict[str, Any], config: DocumentsConfig) -> None:
    if config.on_duplicate_alarm == "stop" and found["duplicate_alarms"]:
        messages = [funnel.alarm_message(alarm) for alarm in found["duplicate_alarms"]]
        raise DataError(
            "more documents than expected would be removed as duplicates", found="; ".join(messages),
            expected="no source above documents.max_duplicate_ratio",
            hint="set documents.on_duplicate_alarm=warn, look at what was matched (headwater data inspect), then raise "
            "documents.max_duplicate_ratio for that source, or min_jaccard",
        )  # fmt: skip


def _counters(found: dict[str, Any]) -> dict[str, Any]:
    sources = {
        source: {key: rows[key] for key in ("documents_in", "documents_out", "bytes_out")}
        for source, rows in found["sources"].items()
    }
    return {**found["total"], "sources": sources}
