"""Files that are read where they are: which there are, how large, and what their bytes hash to."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headwater.core.console import progress
from headwater.core.errors import ConfigError, DataError, ManifestError
from headwater.core.external import (
    LISTING,
    PLACE,
    ExternalFile,
    Place,
    is_external,
    read_listing,
    read_place,
    write_listing,
)
from headwater.core.objects import Stat, find, is_remote, join, local_path, open_object, sha256
from headwater.core.storage import json_digest
from headwater.data.collect.licenses import licenses
from headwater.data.collect.sources import FilesSource

_MAGIC = re.compile(r"[*?\[]")
_MAX_LIST_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Found:
    """The files of a source, in order of name, and where they are."""

    files: list[ExternalFile]
    place: Place

    def fingerprint(self) -> str:
        """Digest of names and contents: another one means that the source has changed."""
        return json_digest([[f.file, f.bytes, f.sha256, f.etag, f.metadata] for f in self.files])

    def counters(self) -> dict[str, Any]:
        """What the artifact's manifest counts."""
        return {"files": len(self.files), "external_bytes": sum(file.bytes for file in self.files)}


def look(source: FilesSource, folder: Path) -> Found:
    """Finds the files and computes their checksums; what an earlier artifact in `folder` knows is not read again.

    Raises:
        ConfigError: Nothing matches, or two files have one name.
        DataError: The store gives no entity tag, and `checksum` asks for it.
        StorageError: A file or a store cannot be read.
    """
    patterns = [*source.uris, *_listed(source)]
    root = source.root or _common_root(patterns)
    at = [join(root, pattern) if source.root and not _absolute(pattern) else pattern for pattern in patterns]
    stats: dict[str, Stat] = {}
    for pattern in at:
        matches = find(pattern, anonymous=source.anonymous)
        if not matches:
            raise ConfigError(f"no file matches {pattern}", expected="a path, a URI or a glob pattern of files",
                              hint="a relative path is meant from where the command runs; of a folder, name the files: "
                              "FOLDER/**")  # fmt: skip
        stats |= matches
    named = {_name(uri, root): uri for uri in stats}
    names = sorted(named)
    if odd := next((name for name in names if not _is_text(name)), None):
        raise DataError("a file's name is not UTF-8", found=repr(os.fsencode(odd)), expected="names that are text",
                        hint="rename it, or choose patterns that leave it out")  # fmt: skip
    if source.max_files is not None:
        names = sorted(sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[: source.max_files])
    known, seen = _known(folder)
    place = Place(root if is_remote(root) else str(local_path(root or ".").resolve()), source.anonymous, {})
    files: list[ExternalFile] = []
    with progress(sum(max(stats[named[name]].bytes, 0) for name in names), "checksums", unit="bytes") as bar:
        for name in names:
            uri, stat = named[name], stats[named[name]]
            if source.checksum == "etag" and is_remote(uri):
                if not stat.etag:
                    raise DataError(f"the store gives no ETag for {uri}", hint="use `checksum: sha256`")
                files.append(ExternalFile(name, stat.bytes, "", stat.etag))
            elif not is_remote(uri):
                state = local_path(uri).stat()
                place.seen[name] = state.st_size, state.st_mtime_ns
                if seen.get(name) == place.seen[name] and name in known:
                    files.append(known[name])
                else:
                    files.append(ExternalFile(name, *sha256(uri, tick=bar.advance), ""))
            else:
                files.append(ExternalFile(name, *sha256(uri, anonymous=source.anonymous, tick=bar.advance), ""))
    if source.format == "code":
        said = licenses(place.root, names, anonymous=source.anonymous)
        files = [replace(file, metadata=said.get(file.file, "")) for file in files]
    return Found(files, place)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_place(folder: Path, found: Found) -> bool:
    """Whether a finished artifact also says where the files are now."""
    try:
        return read_place(folder) == found.place
    except ManifestError:
        return False


def write(folder: Path, found: Found) -> tuple[Path, Path]:
    """Writes the listing and the place; returns their paths."""
    write_listing(folder, found.files, found.place)
    return folder / LISTING, folder / PLACE


def _known(folder: Path) -> tuple[dict[str, ExternalFile], dict[str, tuple[int, int]]]:
    """The files of an earlier artifact, and when they were hashed."""
    if not is_external(folder):
        return {}, {}
    try:
        return {file.file: file for file in read_listing(folder) if file.sha256}, read_place(folder).seen
    except ManifestError:
        return {}, {}


def _listed(source: FilesSource) -> list[str]:
    """The URIs in the files that `lists` names."""
    found: list[str] = []
    for uri in source.lists:
        with open_object(uri, anonymous=source.anonymous) as stream:
            content = stream.read(_MAX_LIST_BYTES + 1)
            if content[:2] == b"\x1f\x8b":
                stream.seek(0)
                try:
                    with gzip.GzipFile(fileobj=stream) as members:
                        content = members.read(_MAX_LIST_BYTES + 1)
                except (OSError, EOFError, zlib.error) as error:
                    raise ConfigError(f"the list {uri} is a damaged gzip file", found=str(error)) from error
        if len(content) > _MAX_LIST_BYTES:
            raise ConfigError(f"the list {uri} is too long", found=f"more than {_MAX_LIST_BYTES:,} bytes",
                              expected="lists of at most that size each")  # fmt: skip
        lines = content.decode("utf-8", "replace").splitlines()
        found += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return found


def _absolute(pattern: str) -> bool:
    return is_remote(pattern) or Path(pattern).expanduser().is_absolute()


def _common_root(patterns: list[str]) -> str:
    """What all patterns have in common, up to a slash before the first place that may vary."""
    fixed: list[list[str]] = []
    for pattern in patterns:
        head = pattern[: magic.start()] if (magic := _MAGIC.search(pattern)) else pattern
        fixed.append(head.split("/")[:-1])
    common = fixed[0]
    for parts in fixed[1:]:
        same = [mine == other for mine, other in zip(common, parts, strict=False)]
        common = common[: same.index(False) if False in same else len(same)]
    return "/".join(common) if common != [""] else "/"


def _name(uri: str, root: str) -> str:
    """A file's name relative to the root.

    Raises:
        ConfigError: It lies elsewhere.
    """
    if is_remote(uri):
        beginning = root.rstrip("/") + "/"
        if uri.startswith(beginning):
            return uri[len(beginning) :]
    else:
        path, base = local_path(uri).absolute(), local_path(root or ".").absolute()
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    raise ConfigError(f"{uri} does not lie below the root", expected=f"a name that begins with {root}",
                      hint="give a `root` that all files share, or none")  # fmt: skip
