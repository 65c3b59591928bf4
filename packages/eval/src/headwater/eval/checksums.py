"""Checksum files of data folders, in the format of sha256sum(1): one line a file, "<SHA-256>  <path>"."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from headwater.core.errors import EvalError
from headwater.core.storage import atomic_write, file_sha256, storage_errors

CHECKSUM_FILE = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*|\S)")


@dataclass(frozen=True)
class Verification:
    """How a folder compares with its checksum file.

    Attributes:
        matched: Files that are as listed.
        missing: Files that are listed and not there.
        changed: Files that are there with other bytes.
        extra: Files that are there and not listed.
    """

    matched: list[str] = field(default_factory=list[str])
    missing: list[str] = field(default_factory=list[str])
    changed: list[str] = field(default_factory=list[str])
    extra: list[str] = field(default_factory=list[str])

    @property
    def ok(self) -> bool:
        """Whether nothing is missing, changed or extra."""
        return not (self.missing or self.changed or self.extra)

    def problems(self) -> list[str]:
        """One line for each file that is not as it should be."""
        kinds = {"missing": self.missing, "changed": self.changed, "extra": self.extra}
        return [f"{kind}: {path}" for kind, paths in kinds.items() for path in paths]


def compute(folder: Path, parts: Sequence[str] | None = None) -> dict[str, str]:
    """SHA-256 of every file of a folder, by POSIX path, in order; checksum files are left out.

    Args:
        folder: The folder.
        parts: Only these sub-folders; by default all of it.

    Raises:
        EvalError: There is no such folder, or a file name that the format cannot hold.
        StorageError: A file cannot be read.
    """
    if not folder.is_dir():
        raise EvalError(f"there is no data folder {folder}")
    found: dict[str, str] = {}
    with storage_errors("read", folder):
        for root, _, names in os.walk(folder):
            for name in names:
                path = (Path(root) / name).relative_to(folder).as_posix()
                if path == CHECKSUM_FILE or not _inside(path, parts):
                    continue
                if "\n" in path or "\r" in path or path != path.strip():
                    raise EvalError(
                        "a checksum file cannot hold this file name", found=repr(path), hint="rename the file"
                    )
                found[path] = file_sha256(folder / path)
    return dict(sorted(found.items()))


def write(folder: Path, output: Path | None = None) -> tuple[Path, dict[str, str]]:
    """Writes a folder's checksum file.

    Args:
        folder: The folder.
        output: Where; by default `SHA256SUMS` in the folder.

    Returns:
        The checksum file, and SHA-256 by path.
    """
    target = output or folder / CHECKSUM_FILE
    found = compute(folder)
    if output is not None and output.resolve().is_relative_to(folder.resolve()):
        found.pop(output.resolve().relative_to(folder.resolve()).as_posix(), None)
    if not found:
        raise EvalError(f"{folder} holds no files")
    with storage_errors("create", target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(target, "".join(f"{digest}  {path}\n" for path, digest in found.items()))
    return target, found


def read(path: Path) -> dict[str, str]:
    """SHA-256 by path, from a checksum file.

    Raises:
        EvalError: It is missing, or a line of it is not in the format; the line is named.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise EvalError(
            f"there is no checksum file {path}", hint="make it with: headwater eval data checksum DIR"
        ) from error
    except UnicodeDecodeError as error:
        raise EvalError(f"{path} is not a checksum file: it is not text") from error
    listed: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in listed or ".." in PurePosixPath(match[2]).parts or match[2].startswith("/"):
            raise EvalError(
                f"line {number} of {path} is not a checksum", found=line[:120],
                expected="64 hexadecimal digits, two spaces, and a path inside the folder, each path once",
            )  # fmt: skip
        listed[match[2]] = match[1]
    return listed


def verify(folder: Path, checksums: Path | None = None, parts: Sequence[str] | None = None) -> Verification:
    """Compares a folder with its checksum file.

    Args:
        folder: The folder.
        checksums: The checksum file; by default `SHA256SUMS` in the folder.
        parts: Only these sub-folders; by default all of it.
    """
    source = checksums or folder / CHECKSUM_FILE
    listed = {path: digest for path, digest in read(source).items() if _inside(path, parts)}
    found = compute(folder, parts)
    if checksums is not None and checksums.resolve().is_relative_to(folder.resolve()):
        found.pop(checksums.resolve().relative_to(folder.resolve()).as_posix(), None)
    return Verification(
        matched=[path for path in listed if found.get(path) == listed[path]],
        missing=[path for path in listed if path not in found],
        changed=[path for path in listed if path in found and found[path] != listed[path]],
        extra=[path for path in found if path not in listed],
    )


def _inside(path: str, parts: Sequence[str] | None) -> bool:
    return parts is None or path.partition("/")[0] in parts
