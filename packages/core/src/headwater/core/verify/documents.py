"""Counts documents again: rows, ids, sizes and reasons, against the counters and the funnel."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headwater.core.documents import SPLITS, document_id, holds_documents
from headwater.core.external import is_external, read_listing
from headwater.core.parquet import iterate_rows
from headwater.core.verify.findings import Findings
from headwater.core.verify.walk import Artifact, Walk

_BATCH = 512
_COLUMNS = ("id", "source", "url", "warc_file", "warc_offset", "payload_sha256", "text", "text_bytes", "split")


@dataclass
class DocumentIndex:
    """What other checks need to know of the documents.

    Attributes:
        kept: Source → id → (split, text bytes).
        rejected: Source → (operator, reason) → rows.
        warc_files: Source → the WARC files that rows name.
    """

    kept: dict[str, dict[str, tuple[str, int]]] = field(default_factory=dict[str, dict[str, tuple[str, int]]])
    rejected: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict[str, Counter[tuple[str, str]]])
    warc_files: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    def totals(self, source: str) -> dict[str, int]:
        """The counters of one source: documents in and out, bytes of text out."""
        kept = self.kept.get(source, {})
        rejected = self.rejected.get(source, Counter())
        return {
            "documents_in": len(kept) + rejected.total(),
            "documents_out": len(kept),
            "bytes_out": sum(size for _, size in kept.values()),
        }


def check_documents(artifact: Artifact, walk: Walk, findings: Findings) -> DocumentIndex:
    """Reads every row once and compares what it says with what can be derived."""
    index = DocumentIndex()
    for entry in artifact.manifest.files:
        if holds_documents(entry.path):
            _read(artifact, entry.path, index, findings)
    _check_counters(artifact, index, findings)
    if (artifact.folder / "funnel.json").is_file():
        _check_funnel(artifact, index, findings)
    _check_warc_files(artifact, walk, index, findings)
    return index


def _read(artifact: Artifact, path: str, index: DocumentIndex, findings: Findings) -> None:
    file, rejected = f"{artifact.label}/{path}", path.startswith("rejected/")
    wrong: Counter[str] = Counter()
    columns = (*_COLUMNS, "operator", "reason") if rejected else _COLUMNS
    for row in iterate_rows(artifact.folder / path, columns, _BATCH):
        identifier = row["id"]
        place = row["url"] or f"{row['warc_file']}:{row['warc_offset']}"  # an unreadable record has no URL
        if identifier != document_id(row["source"], place, row["payload_sha256"]):
            wrong["an id that does not follow from source, URL and payload"] += 1
        if row["text_bytes"] != len(row["text"].encode()):
            wrong["text_bytes that is not the size of the text"] += 1
        if row["split"] not in SPLITS:
            wrong["an unknown split"] += 1
        index.warc_files.setdefault(row["source"], set()).add(row["warc_file"])
        if rejected:
            index.rejected.setdefault(row["source"], Counter())[row["operator"], row["reason"]] += 1
            continue
        mine = index.kept.setdefault(row["source"], {})
        if identifier in mine:
            wrong["an id that is kept twice"] += 1
        mine[identifier] = row["split"], row["text_bytes"]
    for problem, count in wrong.items():
        findings.error(artifact.label, file, f"{count:,} rows have {problem}", hint="run: headwater data run")


def _check_counters(artifact: Artifact, index: DocumentIndex, findings: Findings) -> None:
    """The manifest's counters: of all sources together, and under `sources` of each."""
    counters = artifact.manifest.counters
    totals = {source: index.totals(source) for source in {*index.kept, *index.rejected}}
    _compare(artifact, "manifest.json", "", counters, _sum(totals), findings)
    for source, counted in sorted(counters.get("sources", {}).items()):
        _compare(
            artifact, "manifest.json", f" of {source}", counted, totals.get(source, index.totals(source)), findings
        )


def _check_funnel(artifact: Artifact, index: DocumentIndex, findings: Findings) -> None:
    """The funnel: each operator takes in what the one before let through, and its rejections are there as rows."""
    funnel: dict[str, Any] = json.loads((artifact.folder / "funnel.json").read_bytes())
    totals: dict[str, dict[str, int]] = {}
    for source, content in sorted(funnel["sources"].items()):
        totals[source] = index.totals(source)
        _compare(artifact, "funnel.json", f" of {source}", content, totals[source], findings)
        rejected = index.rejected.get(source, Counter())
        before: int | None = None
        for row in content["operators"]:
            where = f" of {source} at {row['operator']}"
            derived: dict[str, Any] = {"documents_in": row["documents_in"] if before is None else before}
            before = row["documents_out"]
            reasons = {reason: n for (operator, reason), n in rejected.items() if operator == row["operator"]}
            derived["documents_out"] = derived["documents_in"] - sum(reasons.values())
            derived["rejected"] = reasons
            _compare(artifact, "funnel.json", where, row, derived, findings)
    _compare(artifact, "funnel.json", "", funnel["total"], _sum(totals), findings)


def _sum(totals: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    result: Counter[str] = Counter()
    for counted in totals.values():
        result.update(counted)
    return dict(result)


def _compare(
    artifact: Artifact,
    name: str,
    where: str,
    counted: Mapping[str, Any],
    derived: Mapping[str, Any],
    findings: Findings,
) -> None:
    for key in sorted(counted.keys() & derived.keys()):
        file = f"{artifact.label}/{name}"
        findings.equal(artifact.label, file, f"counts {key}{where} wrongly", counted[key], derived[key])


def _check_warc_files(artifact: Artifact, walk: Walk, index: DocumentIndex, findings: Findings) -> None:
    mine = artifact.parents("raw")
    raw = {a.folder.name: _collected(a) for a in walk.of_kind("raw") if a.folder in mine}
    for source, files in sorted(index.warc_files.items()):
        for name in sorted(files - raw.get(source, files)):
            findings.error(
                artifact.label,
                f"{artifact.label}",
                f"names a file of {source} that is not there",
                found=name,
                hint="run: headwater data collect, then headwater data run",
            )


def _collected(raw: Artifact) -> set[str]:
    """The files of a source, wherever they are."""
    if is_external(raw.folder):
        return {file.file for file in read_listing(raw.folder)}
    return {entry.path for entry in raw.manifest.files}
