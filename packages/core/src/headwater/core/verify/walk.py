"""Finds the artifacts of a run, and reads their manifests byte for byte."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.core.errors import HeadwaterError
from headwater.core.layout import RunLayout
from headwater.core.manifest import MANIFEST, VOLATILE, WORK, Manifest, VolatileList, read_manifest, read_volatile
from headwater.core.verify.findings import REMAKE, Findings


@dataclass(frozen=True)
class Artifact:
    """A folder with a readable manifest.

    Attributes:
        folder: Where it is.
        label: Its path relative to the run folder.
        volatile: The list of volatile files, or none if that file is damaged.
    """

    folder: Path
    label: str
    manifest: Manifest
    volatile: VolatileList | None

    def parents(self, kind: str) -> list[Path]:
        """Where the parents of one kind are, or were; resolved."""
        return [(self.folder / each.path).resolve() for each in self.manifest.parents if each.kind == kind]


@dataclass(frozen=True)
class Walk:
    """All artifacts by resolved folder, and the folders whose manifest cannot be used."""

    artifacts: dict[Path, Artifact]
    damaged: set[Path]

    def of_kind(self, kind: str) -> list[Artifact]:
        """The artifacts of one kind, by folder."""
        return [a for _, a in sorted(self.artifacts.items()) if a.manifest.kind == kind]


def label_of(run: RunLayout, path: Path) -> str:
    """A path relative to the run folder, POSIX; `../…` for what lies outside."""
    return Path(os.path.relpath(path.resolve(), run.root.resolve())).as_posix()


def walk(run: RunLayout, findings: Findings) -> Walk:
    """Every artifact under the run folder, and their ancestors elsewhere."""
    found = Walk({}, set())
    for folder in _folders(run.root):
        if (folder / MANIFEST).is_file():
            _take(run, folder, found, findings)
    waiting = list(found.artifacts.values())
    while waiting:
        artifact = waiting.pop()
        for parent in artifact.manifest.parents:
            folder = (artifact.folder / parent.path).resolve()
            outside = not folder.is_relative_to(run.root.resolve())
            if outside and folder not in found.artifacts and folder not in found.damaged and folder.is_dir():
                taken = _take(run, folder, found, findings)
                waiting += [taken] if taken else []
    _name_unfinished(run, found, findings)
    return found


def _folders(root: Path) -> list[Path]:
    return sorted(Path(folder) for folder, _, _ in os.walk(root) if WORK not in Path(folder).parts)


def _take(run: RunLayout, folder: Path, found: Walk, findings: Findings) -> Artifact | None:
    label = label_of(run, folder)
    try:
        manifest = read_manifest(folder)
    except (HeadwaterError, OSError) as error:
        found.damaged.add(folder.resolve())
        _unreadable(findings, label, MANIFEST, error)
        return None
    _check_bytes(findings, label, folder / MANIFEST)
    volatile = None
    try:
        volatile = read_volatile(folder)
        _check_bytes(findings, label, folder / VOLATILE)
    except (HeadwaterError, OSError) as error:
        _unreadable(findings, label, VOLATILE, error)
    artifact = Artifact(folder.resolve(), label, manifest, volatile)
    found.artifacts[artifact.folder] = artifact
    return artifact


def _unreadable(findings: Findings, label: str, name: str, error: Exception) -> None:
    file = f"{label}/{name}"
    if isinstance(error, HeadwaterError):
        findings.error(
            label,
            file,
            error.message,
            found=_shown(error.found),
            expected=_shown(error.expected),
            hint=error.hint or REMAKE,
        )
    else:
        findings.error(label, file, f"cannot be read: {error}", hint=REMAKE)


def _shown(value: object) -> str:
    return "" if value is None else str(value)


def _check_bytes(findings: Findings, label: str, path: Path) -> None:
    """The digest covers the values; this covers white space, the order of keys and the way numbers are written."""
    content = path.read_bytes()
    value: Any = json.loads(content)
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if content != text.encode():
        findings.error(
            label,
            f"{label}/{path.name}",
            "was changed after it was written, though its values are the same",
            found="other white space, order or spelling",
            expected="the form in which Headwater writes it",
            hint=REMAKE,
        )


def _name_unfinished(run: RunLayout, found: Walk, findings: Findings) -> None:
    """Folders of the layout that hold files but no manifest: unfinished, or robbed of it."""
    expected = [run.items, run.documents, run.tokenizer, run.train, run.eval, run.report]
    for parent in (run.root / "raw", run.tokens_root, run.checkpoints):
        expected += [path for path in sorted(parent.glob("*")) if path.is_dir()]
    for folder in expected:
        known = folder.resolve() in found.artifacts or folder.resolve() in found.damaged
        if known or not folder.is_dir() or not any(folder.iterdir()):
            continue
        label = label_of(run, folder)
        if (folder / WORK).is_dir():
            findings.warning(
                label, "", "is not finished", hint="run the same command again: it goes on where it stopped"
            )
        else:
            found.damaged.add(folder.resolve())
            findings.error(label, f"{label}/{MANIFEST}", "is missing", hint=REMAKE)
