"""Units of work over the files of a source that are read where they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from headwater.core.external import ExternalFile, check_unchanged, read_listing, read_place
from headwater.core.manifest import read_manifest
from headwater.core.objects import is_remote, join, open_object
from headwater.data.readers.items import batches
from headwater.data.readers.options import WHOLE, Options, Piece, format_of

_NEVER_CUT = ("html", "text", "code", "pdf", "latex")


@dataclass(frozen=True, slots=True)
class FilesPart:
    """A reader of pieces of files.

    Attributes:
        source: The source's name.
        root: Folder or URI that the files' names are relative to.
        anonymous: Whether the store is asked without credentials.
        options: How the files are read.
        pieces: What to read, and the entry of the listing that the file has to agree with.
    """

    source: str
    root: str
    anonymous: bool
    options: Options
    pieces: tuple[tuple[Piece, ExternalFile], ...]

    def __call__(self) -> Iterator[pa.RecordBatch]:
        """Batches of `ROWS` without text.

        Raises:
            DataError: A file has changed since it was collected.
            StorageError: A file or its store cannot be read.
        """
        for piece, listed in self.pieces:
            uri = join(self.root, piece.file)
            check_unchanged(uri, listed, anonymous=self.anonymous)
            with open_object(uri, anonymous=self.anonymous) as stream:
                items = format_of(self.options.format, piece.file).read(stream, piece, self.options)
                yield from batches(self.source, piece.file, items, listed.metadata)

    def key(self) -> list[object]:
        """What tells it from other units, as JSON values."""
        return [self.source, [[piece.file, piece.start, piece.stop] for piece, _ in self.pieces]]


def plan(source: str, folder: Path, partition_bytes: int) -> list[FilesPart]:
    """Cuts the files that the raw artifact in `folder` lists into units of about `partition_bytes`.

    Small files are read several to a unit, in the order of their names; large ones are cut where their format can be.

    Raises:
        ManifestError: The artifact cannot be read.
        StorageError: A large file cannot be read.
    """
    options, place = Options.of(read_manifest(folder).config), read_place(folder)
    groups: list[list[tuple[Piece, ExternalFile]]] = []
    held = partition_bytes  # by the last group; a full one takes no more
    for file in read_listing(folder):
        pieces = _pieces(file, place.uri(file.file), place.anonymous, options, partition_bytes)
        if len(pieces) > 1:
            groups += [[(piece, file)] for piece in pieces]
            held = partition_bytes
            continue
        if held + file.bytes > partition_bytes or held == partition_bytes:
            groups.append([])
            held = 0
        groups[-1].append((pieces[0], file))
        held += file.bytes
    return [FilesPart(source, place.root, place.anonymous, options, tuple(group)) for group in groups]


def _pieces(file: ExternalFile, uri: str, anonymous: bool, options: Options, partition_bytes: int) -> list[Piece]:
    if file.bytes <= 1.5 * partition_bytes or options.format in _NEVER_CUT:
        return [Piece(file.file, file.bytes, 0, WHOLE)]
    with open_object(uri, anonymous=anonymous) as stream:
        cut = format_of(options.format, file.file).cut(stream, file.file, file.bytes, partition_bytes)
    return [Piece(file.file, file.bytes, start, stop) for start, stop in cut]


def local_warc(folder: Path) -> bool:
    """Whether a raw artifact lists WARC files of this machine, which can be mapped into memory and cut at records."""
    options = Options.of(read_manifest(folder).config)
    return options.format in ("warc", "wet") and not is_remote(read_place(folder).root)
