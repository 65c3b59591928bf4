"""Follows the lineage: every parent is there, of the right kind, and has the digest that its child names."""

from __future__ import annotations

from headwater.core.verify.findings import Findings
from headwater.core.verify.walk import Artifact, Walk


def check_parents(walk: Walk, findings: Findings) -> None:
    """Compares each artifact's parents with the artifacts that are there."""
    for _, artifact in sorted(walk.artifacts.items()):
        for parent in artifact.manifest.parents:
            folder = (artifact.folder / parent.path).resolve()
            if folder in walk.damaged:
                continue  # reported where it lies
            manifest_file = f"{artifact.label}/manifest.json"
            there = walk.artifacts.get(folder)
            if there is None:
                findings.error(
                    artifact.label,
                    manifest_file,
                    f"its parent {parent.role} is missing",
                    found=f"no finished artifact in {folder}",
                    expected=f"{parent.kind} {parent.digest}",
                    hint=f"restore the {parent.kind}, or run the line again",
                )
            elif there.manifest.kind != parent.kind:
                findings.error(
                    artifact.label,
                    manifest_file,
                    f"its parent {parent.role} is of another kind",
                    found=there.manifest.kind,
                    expected=parent.kind,
                    hint=_again(artifact),
                )
            elif there.manifest.digest != parent.digest:
                findings.error(
                    artifact.label,
                    manifest_file,
                    f"was made from another {parent.role} than the one in {there.label}",
                    found=f"digest {there.manifest.digest}",
                    expected=f"digest {parent.digest}",
                    hint=_again(artifact),
                )


def _again(artifact: Artifact) -> str:
    return f"run the stage that makes {artifact.label} again"
