"""Hashes every listed file again, and names the files that no manifest lists."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from headwater.core.layout import RunLayout
from headwater.core.manifest import MANIFEST, VOLATILE, WORK, FileEntry
from headwater.core.verify.findings import REMAKE, Findings
from headwater.core.verify.walk import Artifact, Walk, label_of

THREADS = 2
_CHUNK = 1 << 20
_LISTED = 5


@dataclass(frozen=True)
class _Task:
    artifact: Artifact
    entry: FileEntry
    volatile: bool

    @property
    def path(self) -> Path:
        return self.artifact.folder / self.entry.path


def listed_files(walk: Walk) -> list[_Task]:
    """Every file that a manifest or a list of volatile files names."""
    tasks: list[_Task] = []
    for _, artifact in sorted(walk.artifacts.items()):
        tasks += [_Task(artifact, entry, False) for entry in artifact.manifest.files]
        if artifact.volatile:
            tasks += [_Task(artifact, entry, True) for entry in artifact.volatile.files]
    return tasks


def check_files(tasks: list[_Task], findings: Findings, tick: Callable[[float], None]) -> set[Path]:
    """Compares every file with its size and its checksum.

    Args:
        tasks: What to hash.
        findings: Where to report.
        tick: Called with the number of bytes hashed since the last call, one thread at a time.

    Returns:
        Folders of artifacts that have a missing or changed file of their identity.
    """
    lock = threading.Lock()

    def hashed(task: _Task) -> tuple[int, str] | OSError:
        state, size = hashlib.sha256(), 0
        try:
            with open(task.path, "rb") as stream:
                while chunk := stream.read(_CHUNK):
                    state.update(chunk)
                    size += len(chunk)
                    with lock:
                        tick(len(chunk))
        except OSError as error:
            return error
        return size, state.hexdigest()

    unsound: set[Path] = set()
    with ThreadPoolExecutor(THREADS) as pool:
        for task, result in zip(tasks, pool.map(hashed, tasks), strict=True):
            if result == (task.entry.bytes, task.entry.sha256):
                continue
            if not task.volatile:
                unsound.add(task.artifact.folder)
            _report(task, result, findings)
    return unsound


def _report(task: _Task, result: tuple[int, str] | OSError, findings: Findings) -> None:
    label = task.artifact.label
    file = f"{label}/{task.entry.path}"
    if isinstance(result, FileNotFoundError):
        findings.error(label, file, "is missing", expected=f"{task.entry.bytes:,} bytes", hint=REMAKE)
    elif isinstance(result, OSError):
        findings.error(label, file, f"cannot be read: {result.strerror}", hint="mend the disk or the permissions")
    elif result[0] != task.entry.bytes:
        findings.error(
            label,
            file,
            "has another size than when it was written",
            found=f"{result[0]:,} bytes",
            expected=f"{task.entry.bytes:,} bytes",
            hint=REMAKE,
        )
    else:
        findings.error(
            label,
            file,
            "was changed after it was written",
            found=f"SHA-256 {result[1]}",
            expected=f"SHA-256 {task.entry.sha256}",
            hint=REMAKE,
        )


def check_unlisted(run: RunLayout, walk: Walk, tasks: list[_Task], findings: Findings) -> None:
    """Warns of files under the run folder that no manifest covers; work that is not finished is left out."""
    listed = {task.path for task in tasks}
    listed |= {folder / name for folder in walk.artifacts for name in (MANIFEST, VOLATILE)}
    root = run.root.resolve()
    listed |= {root / run.recipe.name, *RunLayout(root).pages()}
    unlisted: dict[Path, list[Path]] = {}
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = [] if here in walk.damaged else sorted(name for name in folders if name != WORK)
        if here in walk.damaged or (here / WORK).is_dir():
            continue
        extra = [here / name for name in sorted(names) if here / name not in listed]
        if extra:
            owner = next((above for above in (here, *here.parents) if above in walk.artifacts), root)
            unlisted.setdefault(owner, []).extend(extra)
    for owner, paths in sorted(unlisted.items()):
        shown = ", ".join(label_of(run, path) for path in paths[:_LISTED])
        more = f" and {len(paths) - _LISTED} more" if len(paths) > _LISTED else ""
        findings.warning(
            label_of(run, owner),
            label_of(run, paths[0]),
            "no manifest lists this file" if len(paths) == 1 else f"no manifest lists these {len(paths)} files",
            found=shown + more,
            hint="delete what does not belong there; verify cannot vouch for it",
        )
