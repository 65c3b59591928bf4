"""Runs every check over a run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headwater.core.console import Progress, progress
from headwater.core.errors import HeadwaterError, ManifestError
from headwater.core.layout import RunLayout
from headwater.core.verify.documents import DocumentIndex, check_documents
from headwater.core.verify.external import check_external, external_files, total_bytes
from headwater.core.verify.files import check_files, check_unlisted, listed_files
from headwater.core.verify.findings import REMAKE, Finding, Findings
from headwater.core.verify.parents import check_parents
from headwater.core.verify.recipe import check_recipe
from headwater.core.verify.tokens import buckets_by_source, check_buckets, check_tokens
from headwater.core.verify.training import check_checkpoint, check_training
from headwater.core.verify.walk import Artifact, Walk, walk


@dataclass(frozen=True)
class Verification:
    """The result: what was looked at, and what was found.

    Attributes:
        run: The run folder.
        artifacts, files, bytes: How many were hashed.
        kinds: Artifacts of each kind.
        findings: Errors and warnings.
    """

    run: str
    artifacts: int
    files: int
    bytes: int
    kinds: dict[str, int]
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """The findings that make the run unsound."""
        return [finding for finding in self.findings if finding.severity == "error"]

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values, with `ok`."""
        return {"ok": not self.errors, **asdict(self)}


def verify_run(root: str | Path) -> Verification:
    """Hashes and derives everything under a run folder again.

    Args:
        root: The run folder.

    Raises:
        ManifestError: There is nothing to verify.
    """
    run = RunLayout(root)
    findings = Findings()
    found = walk(run, findings) if run.root.is_dir() else Walk({}, set())
    if not found.artifacts and not findings.found:
        raise ManifestError(
            f"{root} is not a run folder: there is no artifact in it",
            hint="give the folder that `headwater line run … --run DIR` wrote",
        )
    tasks = listed_files(found)
    elsewhere = external_files(found, findings)
    total = sum(task.entry.bytes for task in tasks) + total_bytes(elsewhere)
    with progress(total, "hashing", unit="bytes") as bar:
        unsound = check_files(tasks, findings, bar.advance)
        check_external(elsewhere, findings, bar.advance)
    check_unlisted(run, found, tasks, findings)
    check_parents(found, findings)
    check_recipe(run, found, findings)
    sound = Walk({folder: a for folder, a in found.artifacts.items() if folder not in unsound}, found.damaged)
    with progress(len(sound.artifacts), "counting") as bar:
        _derive(run, sound, findings, bar)
    kinds: dict[str, int] = {}
    for artifact in found.artifacts.values():
        kinds[artifact.manifest.kind] = kinds.get(artifact.manifest.kind, 0) + 1
    files = len(tasks) + len(elsewhere)
    return Verification(str(root), len(found.artifacts), files, total, kinds, findings.found)


def _derive(run: RunLayout, sound: Walk, findings: Findings, bar: Progress) -> None:
    """Counts again, but only where the files are those that were written: anything else is already reported."""
    indices: dict[Path, DocumentIndex] = {}  # a run may come from another one, whose documents are there too

    def guarded(artifact: Artifact, check: Callable[[], None]) -> None:
        try:
            check()
        except HeadwaterError as error:
            findings.error(
                artifact.label,
                "",
                error.message,
                found=error.found or "",
                expected=error.expected or "",
                hint=error.hint or REMAKE,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            findings.error(artifact.label, "", f"cannot be counted again: {type(error).__name__}: {error}", hint=REMAKE)
        bar.advance(1)

    def documents(artifact: Artifact) -> None:
        indices[artifact.folder] = check_documents(artifact, sound, findings)

    def index_of(artifact: Artifact) -> DocumentIndex | None:
        return next((indices[folder] for folder in artifact.parents("documents") if folder in indices), None)

    checkpoints = sound.of_kind("checkpoint")
    for artifact in sound.of_kind("documents"):
        guarded(artifact, lambda artifact=artifact: documents(artifact))
    for artifact in sound.of_kind("tokens"):
        guarded(artifact, lambda artifact=artifact: check_tokens(artifact, index_of(artifact), findings))
    for buckets in buckets_by_source(sound.of_kind("tokens")):
        guarded(buckets[0], lambda buckets=buckets: check_buckets(buckets, index_of(buckets[0]), findings))
    for artifact in checkpoints:
        guarded(artifact, lambda artifact=artifact: check_checkpoint(run, artifact, findings))
    for artifact in sound.of_kind("training"):
        guarded(artifact, lambda artifact=artifact: check_training(run, artifact, sound, findings))
