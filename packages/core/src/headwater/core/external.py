"""Sources that are read where they are: the artifact in RUN/raw/<source>/ lists the files instead of holding them.

`files.parquet` names every file relative to a root, with its size and checksum, so that the artifact's digest does
not depend on where the files are. The root itself is in `place.json`, which is listed as volatile: the same corpus
on another machine is the same artifact.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from headwater.core.errors import DataError, ManifestError
from headwater.core.objects import Stat, join, sha256, stat
from headwater.core.storage import atomic_write, storage_errors

LISTING = "files.parquet"
PLACE = "place.json"

EXTERNAL = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),  # POSIX, relative to the root
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),  # empty where only the entity tag is known
        pa.field("etag", pa.string(), nullable=False),  # empty where the SHA-256 is known
        pa.field("metadata", pa.string(), nullable=False),  # JSON object that every row of the file gets; or empty
    ]
)
"""Rows of `raw/<source>/files.parquet`, ordered by file."""

_pq: Any = pyarrow.parquet


@dataclass(frozen=True, slots=True)
class ExternalFile:
    """One row of the listing."""

    file: str
    bytes: int
    sha256: str
    etag: str
    metadata: str = ""


@dataclass(frozen=True)
class Place:
    """Where the files are.

    Attributes:
        root: Folder or URI that the names are relative to.
        anonymous: Whether the store is asked without credentials.
        seen: File → (bytes, modification time in ns) when its SHA-256 was computed, for local files: one that was
            not touched since is not hashed again by the next `collect`.
    """

    root: str
    anonymous: bool
    seen: dict[str, tuple[int, int]]

    def uri(self, file: str) -> str:
        """The path or URI of a file of the listing."""
        return join(self.root, file)


def is_external(folder: Path) -> bool:
    """Whether a raw artifact lists files that are elsewhere."""
    return (folder / LISTING).is_file()


def write_listing(folder: Path, files: list[ExternalFile], place: Place) -> None:
    """Writes both files.

    Raises:
        StorageError: The disk refused.
    """
    rows = [{name: getattr(file, name) for name in EXTERNAL.names} for file in files]
    with storage_errors("write", folder / LISTING):
        _pq.write_table(pa.Table.from_pylist(rows, schema=EXTERNAL), folder / LISTING, compression="zstd")
    content = {"root": place.root, "anonymous": place.anonymous, "seen": place.seen}
    atomic_write(folder / PLACE, json.dumps(content, ensure_ascii=False, sort_keys=True) + "\n")


def read_listing(folder: Path) -> list[ExternalFile]:
    """The files that a raw artifact lists, in order.

    Raises:
        ManifestError: The listing is damaged.
    """
    try:
        rows: list[dict[str, Any]] = _pq.read_table(folder / LISTING, schema=EXTERNAL).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(
            f"{folder / LISTING} cannot be read: {error}", hint="run: headwater data collect"
        ) from error
    return [ExternalFile(**row) for row in rows]


def read_place(folder: Path) -> Place:
    """Where the files of a raw artifact are.

    Raises:
        ManifestError: `place.json` is missing or damaged.
    """
    try:
        value: Any = json.loads((folder / PLACE).read_bytes())
        seen = {str(file): (int(size), int(when)) for file, (size, when) in value["seen"].items()}
        return Place(str(value["root"]), bool(value["anonymous"]), seen)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"{folder / PLACE} cannot be read: {error}", hint="run: headwater data collect") from error


def check_unchanged(uri: str, file: ExternalFile, *, anonymous: bool = False) -> None:
    """Refuses to read a file that is not the listed one, as far as that is told without reading it.

    Raises:
        DataError: Its size or its entity tag is another one.
        StorageError: It is not there.
    """
    now = stat(uri, anonymous=anonymous)
    problem = difference(file, now)
    if problem:
        raise DataError(f"{uri} has changed since it was collected", found=problem[0], expected=problem[1],
                        hint="run: headwater data collect, then the later stages again")  # fmt: skip


def difference(file: ExternalFile, now: Stat) -> tuple[str, str] | None:
    """What a store says of a file that the listing does not: (found, expected); None when they agree."""
    if now.bytes not in (-1, file.bytes):
        return f"{now.bytes:,} bytes", f"{file.bytes:,} bytes"
    if file.etag and now.etag != file.etag:
        return f"ETag {now.etag}", f"ETag {file.etag}"
    return None


def check_content(uri: str, file: ExternalFile, *, anonymous: bool = False) -> tuple[str, str] | None:
    """As `difference`, with the file's bytes read when the listing has their SHA-256.

    Raises:
        StorageError: It is not there, or cannot be read.
    """
    problem = difference(file, stat(uri, anonymous=anonymous))
    if problem or not file.sha256:
        return problem
    _, found = sha256(uri, anonymous=anonymous)
    return None if found == file.sha256 else (f"SHA-256 {found}", f"SHA-256 {file.sha256}")
