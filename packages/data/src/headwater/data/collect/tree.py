"""Files of folders as WARC `resource` records, under URIs that do not depend on this machine."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from headwater.core.console import Progress
from headwater.core.errors import ConfigError
from headwater.core.storage import json_digest
from headwater.data.collect.sources import TreeSource
from headwater.data.collect.warc_writer import WarcArchive

_TEXT_TYPES = {
    ".py": "text/x-python", ".pyi": "text/x-python", ".rst": "text/x-rst", ".md": "text/markdown",
    ".toml": "application/toml", ".yaml": "application/yaml", ".yml": "application/yaml", ".rs": "text/x-rust",
    ".go": "text/x-go", ".c": "text/x-c", ".h": "text/x-c", ".cpp": "text/x-c++", ".sh": "application/x-sh",
}  # fmt: skip
"""Python's own table differs between systems (it reads /etc/mime.types), so the common ones are fixed here."""

_SKIPPED_FOLDERS = frozenset({"__pycache__", ".git", ".hg", ".svn", "node_modules", ".venv"})
_SNIFFED_BYTES = 8192


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A chosen file: its URI, where it is, its size in bytes, its digest."""

    uri: str
    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The files to take, in order of URI, and how many were passed over for which reason."""

    files: list[TreeFile]
    skipped: dict[str, int]

    def fingerprint(self) -> str:
        """Digest of names and contents: another one means that the source has changed."""
        return json_digest([[file.uri, file.sha256] for file in self.files])


def select(source: TreeSource) -> Selection:
    """Choose the files of a source.

    Symbolic links and files that look binary (a zero byte near the start) are passed over. When a limit cuts, the
    files are taken in the order of a hash of their URI: a sample that stays nearly the same when files come and go.

    Raises:
        ConfigError: a folder does not exist, or no file matches.
    """
    skipped: dict[str, int] = dict.fromkeys(("limit", "large", "binary", "unreadable"), 0)
    candidates: list[tuple[str, Path, int]] = []
    for base, folder in sorted(source.paths.items()):
        root = resolve_folder(folder, base)
        candidates += [(uri, path, size) for uri, path, size in _walk(root, base, source)]
    if not candidates:
        raise ConfigError(
            "no file of the tree matches", found=f"paths {', '.join(source.paths.values())}",
            expected=f"at least one file that matches {list(source.include)} and not {list(source.exclude)}",
        )  # fmt: skip
    if source.max_files is not None or source.max_bytes is not None:
        candidates.sort(key=lambda item: hashlib.sha256(item[0].encode()).digest())
    else:
        candidates.sort()
    files: list[TreeFile] = []
    total = 0
    for uri, path, size in candidates:
        if size > source.max_file_size:
            skipped["large"] += 1
        elif (source.max_files is not None and len(files) >= source.max_files) or (
            source.max_bytes is not None and total + size > source.max_bytes
        ):
            skipped["limit"] += 1
        else:
            try:
                content = path.read_bytes()
            except OSError:
                skipped["unreadable"] += 1
                continue
            if b"\0" in content[:_SNIFFED_BYTES]:
                skipped["binary"] += 1
                continue
            files.append(TreeFile(uri, path, len(content), hashlib.sha256(content).hexdigest()))
            total += len(content)
    return Selection(sorted(files, key=lambda file: file.uri), skipped)


def write(selection: Selection, archive: WarcArchive, progress: Progress | None = None) -> dict[str, Any]:
    """Write the chosen files to an archive and return the counters."""
    total = 0
    skipped = dict(selection.skipped)
    written = 0
    for file in selection.files:
        try:
            content = file.path.read_bytes()
        except OSError:
            skipped["unreadable"] += 1
            continue
        archive.resource(file.uri, content_type(file.path), content)
        written += 1
        total += len(content)
        if progress is not None:
            progress.advance(1)
    return {"files": written, "bytes": total, "skipped": {reason: n for reason, n in skipped.items() if n}}


def resolve_folder(folder: str, uri: str) -> Path:
    """The folder of a source, with {stdlib} and {site-packages} filled in.

    Raises:
        ConfigError: there is no such folder.
    """
    paths = sysconfig.get_paths()
    resolved = folder.replace("{stdlib}", paths["stdlib"]).replace("{site-packages}", paths["purelib"])
    path = Path(resolved).expanduser()
    if not path.is_dir():
        raise ConfigError(f"the tree {uri} has no folder", found=folder, expected="an existing folder")
    return path


def content_type(path: Path) -> str:
    """Media type of a file by its name; text/plain when unknown."""
    return _TEXT_TYPES.get(path.suffix.lower()) or mimetypes.MimeTypes().guess_type(path.name)[0] or "text/plain"


def _walk(root: Path, base: str, source: TreeSource) -> Iterator[tuple[str, Path, int]]:
    for here, folders, names in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _SKIPPED_FOLDERS
            and not (Path(here) / name).is_symlink()
            # The standard library's folder holds the installed packages on most systems: they are no part of it.
            and not (name in ("site-packages", "dist-packages") and Path(here) == root)
        )
        for name in sorted(names):
            path = Path(here) / name
            relative = path.relative_to(root).as_posix()
            if _matches(relative, source) and not path.is_symlink() and path.is_file():
                yield base.rstrip("/") + "/" + relative, path, path.stat().st_size


def _matches(relative: str, source: TreeSource) -> bool:
    return any(fnmatchcase(relative, pattern) for pattern in source.include) and not any(
        fnmatchcase(relative, pattern) for pattern in source.exclude
    )
