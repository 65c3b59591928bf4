"""Compares the files of sources that are read where they are with what was listed when they were collected."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from headwater.core.errors import HeadwaterError, StorageError
from headwater.core.external import ExternalFile, check_content, is_external, read_listing, read_place
from headwater.core.verify.files import THREADS
from headwater.core.verify.findings import Findings
from headwater.core.verify.walk import Artifact, Walk

_AGAIN = "restore it, or run: headwater data collect, then the later stages again"


@dataclass(frozen=True)
class _Task:
    artifact: Artifact
    file: ExternalFile
    uri: str
    anonymous: bool


def external_files(walk: Walk, findings: Findings) -> list[_Task]:
    """Every file that a raw artifact lists."""
    tasks: list[_Task] = []
    for artifact in walk.of_kind("raw"):
        if not is_external(artifact.folder):
            continue
        try:
            place, listed = read_place(artifact.folder), read_listing(artifact.folder)
        except HeadwaterError as error:
            findings.error(artifact.label, artifact.label, error.message, hint=error.hint or _AGAIN)
            continue
        tasks += [_Task(artifact, file, place.uri(file.file), place.anonymous) for file in listed]
    return tasks


def total_bytes(tasks: list[_Task]) -> int:
    """Bytes that will be hashed: where only an entity tag is known, none."""
    return sum(task.file.bytes for task in tasks if task.file.sha256)


def check_external(tasks: list[_Task], findings: Findings, tick: Callable[[float], None]) -> None:
    """Names the files that are gone, or that are not what was collected."""

    def looked_at(task: _Task) -> tuple[str, str] | StorageError | None:
        try:
            return check_content(task.uri, task.file, anonymous=task.anonymous)
        except StorageError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        for task, result in zip(tasks, pool.map(looked_at, tasks), strict=True):
            tick(task.file.bytes if task.file.sha256 else 0)
            if isinstance(result, StorageError):
                findings.error(task.artifact.label, task.uri, result.message, found=result.found or "",
                               hint=result.hint or _AGAIN)  # fmt: skip
            elif result is not None:
                findings.error(task.artifact.label, task.uri, "has changed since it was collected", found=result[0],
                               expected=result[1], hint=_AGAIN)  # fmt: skip
