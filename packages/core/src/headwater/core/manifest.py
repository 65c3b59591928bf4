"""Artifacts: a folder, and a `manifest.json` that is written last and atomically.

A folder without a manifest is never an artifact, so a half-written one is never mistaken for a whole one.
The manifest names its parents by digest, lists every file with its SHA-256, and carries the resolved
configuration and the counters, so that the whole line behind a score can be walked and hashed again.

Files that legitimately differ between two equal runs (timings, logs, the report page) are listed in
`volatile.json`, with checksums too, and are no part of the digest: two runs of one recipe and seed give
byte-identical `manifest.json` files.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from headwater.core.console import warn
from headwater.core.errors import ManifestError
from headwater.core.storage import atomic_write, file_sha256, is_unfinished, json_digest, storage_errors

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
VOLATILE = "volatile.json"
WORK = "_work"

Kind = Literal[
    "raw", "items", "documents", "index", "figures", "tokenizer", "tokens", "training", "checkpoint", "model", "eval",
    "report",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parent(_Record):
    """An artifact that this one was made from.

    Attributes:
        role: What the parent was used as, for example "tokenizer" or "tokens/web".
        kind: The parent's kind.
        path: Where it was, POSIX, relative to the child's folder.
        digest: The parent's manifest digest.
    """

    role: str
    kind: Kind
    path: str
    digest: str


class FileEntry(_Record):
    """One file of an artifact: POSIX path relative to the artifact's folder, size in bytes, SHA-256."""

    path: str
    bytes: int
    sha256: str


class Manifest(_Record):
    """What an artifact is, what it was made from, and what it holds.

    Attributes:
        schema_version: Version of this schema.
        kind: What the artifact is.
        name: Name of the artifact, for people (for example the source's name).
        producer: Package and version that wrote it, for example "headwater-data 0.1.0".
        config: The resolved configuration it was made with.
        parents: The artifacts it was made from.
        counters: What was counted while it was made.
        files: Every file that is part of its identity, ordered by path.
        digest: SHA-256 over all the above.
    """

    schema_version: int
    kind: Kind
    name: str
    producer: str
    config: dict[str, Any]
    parents: list[Parent]
    counters: dict[str, Any]
    files: list[FileEntry]
    digest: str

    def computed_digest(self) -> str:
        """The digest that the other fields give; it equals `digest` unless somebody edited the file."""
        return json_digest(self.model_dump(mode="json", exclude={"digest"}))

    def key(self) -> str:
        """Digest of what decides the content: kind, name, producer, configuration and parents."""
        return artifact_key(self.kind, self.name, self.producer, self.config, self.parents)

    def total_bytes(self) -> int:
        """Sum of the sizes of the listed files, in bytes."""
        return sum(entry.bytes for entry in self.files)


class VolatileList(_Record):
    """`volatile.json`: files whose bytes may differ between two equal runs, with the checksums they have here."""

    schema_version: int
    files: list[FileEntry]
    digest: str

    def computed_digest(self) -> str:
        """The digest that the other fields give."""
        return json_digest(self.model_dump(mode="json", exclude={"digest"}))


RecordT = TypeVar("RecordT", Manifest, VolatileList)


def artifact_key(kind: str, name: str, producer: str, config: dict[str, Any], parents: Sequence[Parent]) -> str:
    """Digest of everything that decides an artifact's content (see `Manifest.key`)."""
    named = [[p.role, p.kind, p.digest] for p in parents]
    return json_digest([SCHEMA_VERSION, kind, name, producer, config, named])


def is_artifact(folder: str | Path) -> bool:
    """Whether the folder holds a finished artifact."""
    return (Path(folder) / MANIFEST).is_file()


def read_manifest(folder: str | Path) -> Manifest:
    """Reads an artifact's manifest and checks it against its own digest.

    Args:
        folder: The artifact's folder.

    Raises:
        ManifestError: There is none, it is not valid, it has another schema version, or it was changed.
    """
    return _read_checked(Path(folder) / MANIFEST, Manifest, "a manifest")


def read_volatile(folder: str | Path) -> VolatileList:
    """Reads an artifact's list of volatile files and checks it against its own digest.

    Raises:
        ManifestError: As `read_manifest`.
    """
    return _read_checked(Path(folder) / VOLATILE, VolatileList, "a list of volatile files")


def _read_checked(path: Path, model: type[RecordT], what: str) -> RecordT:
    value = _read_json(path)
    _check_version(path, value)
    try:
        record = model.model_validate(value)
    except ValidationError as error:
        raise ManifestError(f"{path} is not {what}: {_first(error)}", hint=_REMAKE) from error
    _check_digest(path, record.digest, record.computed_digest())
    return record


def changed_files(folder: str | Path, since: int = 0) -> list[str]:
    """The listed files of a finished artifact, volatile ones too, that are missing or have other bytes.

    The manifest is written last, so a file that was touched after it (by its modification or status time) is hashed
    again, and no other. When such files prove to be as they were, as after a copy, the manifest's own time is set to
    theirs, so that they are hashed once.

    Args:
        folder: The artifact's folder.
        since: A time in nanoseconds at which the files were as written; what was touched before it is not hashed.

    Returns:
        Paths relative to the folder. Empty: as written, unless bytes changed without any trace in the file system,
        which `headwater verify` finds.

    Raises:
        ManifestError: As `read_manifest` and `read_volatile`.
        StorageError: A file cannot be read.
    """
    folder = Path(folder)
    entries = [*read_manifest(folder).files, *read_volatile(folder).files]
    changed: list[str] = []
    with storage_errors("read", folder):
        sealed = latest = max((folder / MANIFEST).stat().st_mtime_ns, since)
        for entry in entries:
            path = folder / entry.path
            if not path.is_file():
                changed.append(entry.path)
                continue
            state = path.stat()
            touched = max(state.st_mtime_ns, state.st_ctime_ns)
            latest = max(latest, touched)
            # "At the same time" is hashed as well: clocks of file systems tick every few milliseconds.
            if state.st_size != entry.bytes or (touched >= sealed and file_sha256(path) != entry.sha256):
                changed.append(entry.path)
    if latest > sealed and not changed:
        with suppress(OSError):  # a folder that may only be read is hashed every time
            os.utime(folder / MANIFEST, ns=(latest + 1, latest + 1))
    return changed


def unfinished_kind(folder: str | Path) -> str | None:
    """What was being made in a folder whose work was interrupted; None where that is not known or nothing was.

    Raises:
        StorageError: The folder cannot be read.
    """
    key_file = Path(folder) / WORK / "key"
    with storage_errors("read", key_file):
        words = key_file.read_text(errors="replace").split() if key_file.is_file() else []
    return words[0] if len(words) == 2 else None


def parent_of(child: str | Path, parent: str | Path, role: str) -> Parent:
    """The `Parent` entry for the artifact in `parent`, as seen from the artifact in `child`.

    Raises:
        ManifestError: `parent` is not a finished artifact.
    """
    manifest = read_manifest(parent)
    relative = os.path.relpath(Path(parent).resolve(), Path(child).resolve())
    return Parent(role=role, kind=manifest.kind, path=PurePosixPath(*Path(relative).parts).as_posix(),
                  digest=manifest.digest)  # fmt: skip


class ArtifactWriter:
    """Writes one artifact: `up_to_date` → `begin` → write files → `commit`.

    While it is being made, the folder has no manifest. Unfinished work lies in `folder/_work/` and survives a
    kill, so that the same command goes on; work that belongs to another configuration is thrown away.

    Args:
        folder: The artifact's folder.
        kind: What it is.
        name: Its name, for people.
        producer: Package and version, for example "headwater-data 0.1.0".
        config: The resolved configuration (JSON values only).
        parents: What it is made from.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        kind: Kind,
        name: str,
        producer: str,
        config: dict[str, Any],
        parents: Sequence[Parent] = (),
    ) -> None:
        self.folder = Path(folder)
        self.kind: Kind = kind
        self.name = name
        self.producer = producer
        self.config = config
        self.parents = sorted(parents, key=lambda parent: parent.role)
        self.key = artifact_key(kind, name, producer, config, self.parents)

    def up_to_date(self) -> Manifest | None:
        """The finished artifact's manifest, if it was made from exactly this and its files are as they were written.

        Warns of a file that was changed or removed since; see `changed_files` for how it is found.
        """
        if not is_artifact(self.folder):
            return None
        try:
            manifest = read_manifest(self.folder)
            changed = changed_files(self.folder) if manifest.key() == self.key else None
        except ManifestError:
            return None
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            warn(f"{self.folder / changed[0]}{more} was changed or removed after it was written: not up to date")
        return manifest if changed == [] else None

    def open_work(self) -> Path:
        """The work folder; what another configuration left there is removed. An older artifact stays as it is."""
        work = self.folder / WORK
        with storage_errors("prepare", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self.has_begun():
                shutil.rmtree(work, ignore_errors=True)
                work.mkdir()
                atomic_write(work / "key", f"{self.kind} {self.key}")
        return work

    def has_begun(self) -> bool:
        """Whether the folder holds unfinished work of exactly this."""
        key_file = self.folder / WORK / "key"
        return key_file.is_file() and key_file.read_text(errors="replace").split()[-1:] == [self.key]

    def begin(self, keep: Iterable[Path] = ()) -> Path:
        """Opens the artifact for writing and returns its work folder.

        An older artifact in the same folder loses its manifest first and then the files that the manifest named;
        nothing else in the folder is touched.

        Args:
            keep: Files that stay, because the new artifact goes on with them.
        """
        with storage_errors("prepare", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_old(set(keep))
        return self.open_work()

    def _remove_old(self, keep: set[Path]) -> None:
        listed: list[str] = []
        for name in (MANIFEST, VOLATILE):
            path = self.folder / name
            if path.is_file():
                try:
                    entries = _read_json(path).get("files", [])
                    listed += [str(entry["path"]) for entry in entries]
                except (ManifestError, KeyError, TypeError, AttributeError):
                    listed += []
                path.unlink()
        for relative in listed:
            inside = not PurePosixPath(relative).is_absolute() and ".." not in PurePosixPath(relative).parts
            path = self.folder / relative
            if inside and path not in keep and path.is_file():
                path.unlink()

    def commit(
        self, counters: dict[str, Any], files: Iterable[Path] | None = None, volatile: Iterable[Path] = ()
    ) -> Manifest:
        """Hashes the files and writes `volatile.json`, then `manifest.json`, last and atomically.

        Args:
            counters: What was counted.
            files: The files that are part of the artifact's identity; default: every file in the folder, less
                the work folder, the volatile files and artifacts in sub-folders.
            volatile: Files that may differ between two equal runs.

        Raises:
            StorageError: The disk refused; there is no manifest then.
        """
        with storage_errors("finish", self.folder):
            logs = sorted({Path(path) for path in volatile})
            own = sorted({Path(path) for path in files}) if files is not None else self._own_files(set(logs))
            listing = [self._entry(path) for path in logs]
            fields = {"schema_version": SCHEMA_VERSION, "files": [entry.model_dump() for entry in listing]}
            _write_json(self.folder / VOLATILE, {**fields, "digest": json_digest(fields)})
            draft = Manifest(
                schema_version=SCHEMA_VERSION, kind=self.kind, name=self.name, producer=self.producer,
                config=self.config, parents=list(self.parents), counters=counters,
                files=[self._entry(path) for path in own], digest="",
            )  # fmt: skip
            manifest = draft.model_copy(update={"digest": draft.computed_digest()})
            _write_json(self.folder / MANIFEST, manifest.model_dump(mode="json"))
            shutil.rmtree(self.folder / WORK, ignore_errors=True)
        return manifest

    def _own_files(self, volatile: set[Path]) -> list[Path]:
        found: list[Path] = []
        for root, folders, names in os.walk(self.folder):
            here = Path(root)
            if here != self.folder and is_artifact(here):
                folders.clear()
                continue
            folders[:] = sorted(name for name in folders if name != WORK)
            for name in filter(is_unfinished, names):
                (here / name).unlink()
            names = [name for name in names if not is_unfinished(name)]
            found += [here / name for name in names if not (here == self.folder and name in (MANIFEST, VOLATILE))]
        return sorted(path for path in found if path not in volatile)

    def _entry(self, path: Path) -> FileEntry:
        relative = path.relative_to(self.folder).as_posix()
        return FileEntry(path=relative, bytes=path.stat().st_size, sha256=file_sha256(path))


_REMAKE = "run the stage that makes it again, or restore it from a copy"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value: Any = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ManifestError(
            f"{path.parent} is not a finished artifact: it has no {path.name}",
            hint="run the stage that makes it (a stage that was interrupted goes on where it stopped)",
        ) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} is damaged: {error}", expected="JSON", hint=_REMAKE) from error
    if not isinstance(value, dict):
        raise ManifestError(f"{path} is damaged", found=type(value).__name__, expected="a JSON object", hint=_REMAKE)
    return cast("dict[str, Any]", value)


def _check_version(path: Path, value: dict[str, Any]) -> None:
    version = value.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ManifestError(
            f"{path} has another schema version", found=version, expected=SCHEMA_VERSION,
            hint="use the Headwater version that wrote it, or make the artifact again with this one",
        )  # fmt: skip


def _check_digest(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise ManifestError(f"{path} was changed after it was written", found=f"digest {found}",
                            expected=f"digest {expected}, from its content", hint=_REMAKE)  # fmt: skip


def _write_json(path: Path, value: dict[str, Any]) -> None:
    atomic_write(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def _first(error: ValidationError) -> str:
    detail = error.errors()[0]
    return f"{'.'.join(str(part) for part in detail['loc'])}: {detail['msg']}"
