"""Lineage: every finished artifact under a run folder, with its parents."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path

from headwater.core.errors import ManifestError
from headwater.core.layout import RunLayout
from headwater.core.manifest import MANIFEST, WORK, Manifest, read_manifest
from headwater.core.page import format as fmt

from .files import RunFiles
from .view import Node

#: For each kind, counters whose value is worth a line on the graph: name → how to say it.
_FACTS = {
    "raw": (("pages", "pages"), ("files", "files"), ("topics", "topics"), ("records", "records")),
    "items": (("items", "items"),),
    "documents": (("documents_out", "documents"),),
    "tokenizer": (("vocab_size", "symbols"),),
    "tokens": (("train_tokens", "tokens"),),
    "training": (("steps", "steps"),),
    "checkpoint": (("step", "steps done"),),
    "eval": (("tasks", "tasks"), ("items", "items")),
}


def read_lineage(files: RunFiles, run: RunLayout) -> list[Node]:
    """Artifacts as nodes, parents first. Checkpoints that nothing was made from are left out, save the newest."""
    found: dict[str, Manifest] = {}
    for folder in _artifacts(run):
        try:
            manifest = read_manifest(folder)
        except ManifestError as error:
            files.note(folder / MANIFEST, str(error).splitlines()[0])
            continue
        found[folder.relative_to(run.root).as_posix()] = manifest
    by_digest = {manifest.digest: name for name, manifest in found.items()}
    parents: dict[str, list[str]] = {}
    for name, manifest in found.items():
        at = [posixpath.normpath(posixpath.join(name, parent.path)) for parent in manifest.parents]
        parents[name] = [
            path if path in found else by_digest.get(parent.digest, f"missing: {parent.role}")
            for path, parent in zip(at, manifest.parents, strict=True)
        ]
    used = {parent for names in parents.values() for parent in names}
    checkpoints = sorted(name for name, manifest in found.items() if manifest.kind == "checkpoint")
    hidden = {name for name in checkpoints[:-1] if name not in used}
    nodes = [
        Node(
            id=name, kind=manifest.kind, name=_label(name, manifest), digest=manifest.digest,
            producer=manifest.producer, files=len(manifest.files), bytes=manifest.total_bytes(),
            fact=_fact(manifest), parents=parents[name],
        )
        for name, manifest in found.items() if name not in hidden
    ]  # fmt: skip
    absent = sorted({p for node in nodes for p in node.parents if p.startswith("missing: ")})
    nodes += [Node(p, "raw", p, "not in this folder", "", 0, 0, "", ()) for p in absent]
    return _parents_first(nodes)


def _artifacts(run: RunLayout) -> Iterator[Path]:
    for root, folders, names in os.walk(run.root):
        here = Path(root)
        folders[:] = sorted(name for name in folders if name != WORK and here / name != run.report)
        if MANIFEST in names:
            yield here


def _label(name: str, manifest: Manifest) -> str:
    if manifest.kind == "checkpoint":
        return "step " + name.rpartition("step-")[2].lstrip("0")
    return name


def _fact(manifest: Manifest) -> str:
    for counter, noun in _FACTS.get(manifest.kind, ()):
        value = manifest.counters.get(counter)
        if isinstance(value, dict | list):
            value = len(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return f"{fmt.short(value) if value >= 100_000 else fmt.count(value)} {noun}"
    return fmt.bytes_(manifest.total_bytes())


def _parents_first(nodes: list[Node]) -> list[Node]:
    left, done, ordered = list(nodes), set[str](), list[Node]()
    while left:
        ready = [node for node in left if all(p in done or p == node.id for p in node.parents)] or left[:1]
        ordered += ready
        done |= {node.id for node in ready}
        left = [node for node in left if node.id not in done]
    return ordered
