"""Counts tokens again: index against sidecar against counters against documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headwater.core.buckets import bucket_of
from headwater.core.documents import SPLITS
from headwater.core.parquet import read_rows
from headwater.core.tokens import MegatronReader
from headwater.core.verify.documents import DocumentIndex
from headwater.core.verify.findings import REMAKE, Findings
from headwater.core.verify.walk import Artifact


def check_tokens(artifact: Artifact, documents: DocumentIndex | None, findings: Findings) -> None:
    """Checks both splits of one source.

    Args:
        artifact: The tokens of one source; its folder has the source's name.
        documents: The kept documents, or none if they could not be read.
        findings: Where to report.
    """
    sidecar = read_rows(artifact.folder / "documents.parquet")
    for split in SPLITS:
        rows = sorted((row for row in sidecar if row["split"] == split), key=lambda row: row["sequence"])
        _check_split(artifact, split, rows, findings)
    made_from = {parent.kind for parent in artifact.manifest.parents}
    if documents is not None and "documents" in made_from:  # others were imported
        of = bucket_of(artifact.manifest)
        kept = documents.kept.get(of or artifact.folder.name, {})
        _check_kept(artifact, sidecar, kept, findings)
        if of is None:
            _check_complete(artifact, {row["id"] for row in sidecar}, kept, findings)


def _check_split(artifact: Artifact, split: str, rows: list[dict[str, Any]], findings: Findings) -> None:
    reader = MegatronReader(artifact.folder / split)
    index, sidecar = f"{artifact.label}/{split}.idx", f"{artifact.label}/documents.parquet"
    findings.equal(
        artifact.label,
        sidecar,
        f"has another number of {split} documents than the index has sequences",
        len(rows),
        len(reader),
    )
    for column, expected in (
        ("sequence", np.arange(len(reader))),
        ("token_start", reader.starts),
        ("token_count", reader.lengths),
    ):
        values = np.array([row[column] for row in rows], dtype=np.int64)
        if len(values) == len(expected) and not np.array_equal(values, expected):
            row = int(np.flatnonzero(values != expected)[0])
            findings.error(
                artifact.label,
                sidecar,
                f"{column} of {split} document {rows[row]['id']} does not agree with {index}",
                found=values[row],
                expected=expected[row],
                hint=REMAKE,
            )
    counted = {"tokens": len(reader.tokens), "documents": len(reader)}
    for what, value in counted.items():
        name = f"{split}_{what}"
        if name in artifact.manifest.counters:
            findings.equal(
                artifact.label,
                f"{artifact.label}/manifest.json",
                f"counts {name} wrongly",
                artifact.manifest.counters[name],
                value,
            )
    if len(reader):
        ends = np.asarray(reader.tokens[reader.starts + reader.lengths - 1])
        if len(np.unique(ends)) > 1:
            findings.error(
                artifact.label,
                f"{artifact.label}/{split}.bin",
                "some documents do not end with end-of-text",
                found=f"{len(np.unique(ends))} different last tokens",
                expected="one",
                hint=REMAKE,
            )


def buckets_by_source(artifacts: Sequence[Artifact]) -> list[list[Artifact]]:
    """The buckets among some tokens, those of a source of a run together."""
    sources: dict[tuple[Path, str], list[Artifact]] = {}
    for artifact in artifacts:
        if (of := bucket_of(artifact.manifest)) is not None:
            sources.setdefault((artifact.folder.parent, of), []).append(artifact)
    return list(sources.values())


def check_buckets(buckets: Sequence[Artifact], documents: DocumentIndex | None, findings: Findings) -> None:
    """Checks that the buckets of a source hold every kept document once between them."""
    of = bucket_of(buckets[0].manifest) or ""
    found = [row["id"] for each in buckets for row in read_rows(each.folder / "documents.parquet")]
    file = f"{buckets[0].label}/documents.parquet"
    findings.equal(buckets[0].label, file, f"the buckets of {of} share documents", len(found), len(set(found)))
    if documents is not None:
        _check_complete(buckets[0], set(found), documents.kept.get(of, {}), findings)


def _check_complete(
    artifact: Artifact, there: set[str], kept: dict[str, tuple[str, int]], findings: Findings
) -> None:  # fmt: skip
    """Every kept document is in the tokens."""
    for identifier in sorted(kept.keys() - there)[:1]:
        findings.error(
            artifact.label,
            f"{artifact.label}/documents.parquet",
            f"{len(kept.keys() - there):,} kept documents have no tokens",
            found=f"for example not {identifier}",
            expected="every kept document",
            hint="run: headwater data tokenize",
        )


def _check_kept(
    artifact: Artifact, sidecar: list[dict[str, Any]], kept: dict[str, tuple[str, int]], findings: Findings
) -> None:
    """The tokens hold nothing but kept documents, each once, in its split, with its size."""
    file = f"{artifact.label}/documents.parquet"
    there = {row["id"]: (row["split"], row["text_bytes"]) for row in sidecar}
    findings.equal(artifact.label, file, "holds a document more than once", len(sidecar), len(there))
    for identifier in sorted(there.keys() - kept.keys())[:1]:
        findings.error(
            artifact.label,
            file,
            f"{len(there.keys() - kept.keys()):,} documents were not kept",
            found=f"for example {identifier}",
            expected="only kept documents",
            hint="run: headwater data tokenize",
        )
    for identifier in sorted(kept.keys() & there.keys()):
        if kept[identifier] != there[identifier]:
            findings.error(
                artifact.label,
                file,
                f"document {identifier} has another split or size than in documents/",
                found=there[identifier],
                expected=kept[identifier],
                hint="run: headwater data tokenize",
            )
            return
