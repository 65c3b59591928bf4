"""Counts documents again: rows, ids, sizes and reasons, against the counters and the funnel."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from headwater.core.documents import SPLITS, document_id
from headwater.core.parquet import iterate_rows
from headwater.core.verify.findings import Findings
from headwater.core.verify.walk import Artifact, Walk

_BATCH = 512
_COLUMNS = ("id", "source", "url", "warc_file", "payload_sha256", "text", "text_bytes", "split")


@dataclass
class DocumentIndex:
    """What other checks need to know of the kept documents.

    Attributes:
        kept: Source → id → (split, text bytes).
        rejected: (operator, reason) → rows.
        warc_files: Source → the WARC files that rows name.
    """

    kept: dict[str, dict[str, tuple[str, int]]] = field(default_factory=dict[str, dict[str, tuple[str, int]]])
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    warc_files: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    def kept_rows(self) -> int:
        """Kept documents of all sources."""
        return sum(len(rows) for rows in self.kept.values())


def check_documents(artifact: Artifact, walk: Walk, findings: Findings) -> DocumentIndex:
    """Reads every row once and compares what it says with what can be derived."""
    index = DocumentIndex()
    for entry in artifact.manifest.files:
        if entry.path.endswith(".parquet"):
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
        if identifier != document_id(row["source"], row["url"], row["payload_sha256"]):
            wrong["an id that does not follow from source, URL and payload"] += 1
        if row["text_bytes"] != len(row["text"].encode()):
            wrong["text_bytes that is not the size of the text"] += 1
        if row["split"] not in SPLITS:
            wrong["an unknown split"] += 1
        index.warc_files.setdefault(row["source"], set()).add(row["warc_file"])
        if rejected:
            index.rejected[row["operator"], row["reason"]] += 1
            continue
        mine = index.kept.setdefault(row["source"], {})
        if identifier in mine:
            wrong["an id that is kept twice"] += 1
        mine[identifier] = row["split"], row["text_bytes"]
    for problem, count in wrong.items():
        findings.error(artifact.label, file, f"{count:,} rows have {problem}", hint="run: headwater data run")


def _check_counters(artifact: Artifact, index: DocumentIndex, findings: Findings) -> None:
    file = f"{artifact.label}/manifest.json"
    counted = {"kept": index.kept_rows(), "rejected": index.rejected.total()}
    for name, value in counted.items():
        if name in artifact.manifest.counters:
            findings.equal(
                artifact.label, file, f"counts {name} documents wrongly", artifact.manifest.counters[name], value
            )


def _check_funnel(artifact: Artifact, index: DocumentIndex, findings: Findings) -> None:
    file = f"{artifact.label}/funnel.json"
    funnel: dict[str, Any] = json.loads((artifact.folder / "funnel.json").read_bytes())
    rows: list[dict[str, Any]] = funnel.get("operators", [])
    dropped: Counter[str] = Counter()
    for row in rows:
        dropped[row["operator"]] += row["documents_in"] - row["documents_out"]
    rejected: Counter[str] = Counter()
    for (operator, _), count in index.rejected.items():
        rejected[operator] += count
    for operator in sorted({*dropped, *rejected}):
        findings.equal(
            artifact.label,
            file,
            f"says that {operator} rejected another number of documents than there are rejected rows",
            dropped[operator],
            rejected[operator],
        )


def _check_warc_files(artifact: Artifact, walk: Walk, index: DocumentIndex, findings: Findings) -> None:
    raw = {a.folder.name: {entry.path for entry in a.manifest.files} for a in walk.of_kind("raw")}
    for source, files in sorted(index.warc_files.items()):
        for name in sorted(files - raw.get(source, files)):
            findings.error(
                artifact.label,
                f"{artifact.label}",
                f"names a WARC file of {source} that is not there",
                found=name,
                hint="run: headwater data collect, then headwater data run",
            )
