"""Units of work over the sources of a run: whole small files, slices of large ones.

Sources that were collected hold WARC files, which are read here; those that are read where they are have readers of
their own (`readers`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from headwater.core.documents import document_id
from headwater.core.errors import DataError
from headwater.core.external import check_unchanged, is_external, read_listing, read_place
from headwater.core.manifest import read_manifest
from headwater.core.storage import atomic_write, json_digest
from headwater.data.collect.warc_reader import BadRecord, Record, read_records, read_records_at
from headwater.data.readers import part
from headwater.data.readers.part import FilesPart
from headwater.data.rows import ROWS

_BATCH_ROWS = 128
_BATCH_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class WarcPart:
    """A reader of one WARC file or, with `offsets`, of the records that begin there.

    Attributes:
        source: The source's name.
        root: Folder of the source's WARC files.
        file: POSIX path relative to `root`.
        offsets: Where the records begin; None reads the file from one end to the other.
    """

    source: str
    root: str
    file: str
    offsets: tuple[int, ...] | None = None

    def __call__(self) -> Iterator[pa.RecordBatch]:
        """Batches of `ROWS` without text."""
        records: list[Record | BadRecord] = []
        places: list[tuple[int, int]] = []
        size, last, repeat = 0, -1, 0
        for record in self._records():
            repeat = repeat + 1 if record.offset == last else 0
            last = record.offset
            records.append(record)
            places.append((last, repeat))
            size += len(record.payload) if isinstance(record, Record) else 0
            if len(records) == _BATCH_ROWS or size >= _BATCH_BYTES:
                yield _rows(self.source, self.file, records, places)
                records, places, size = [], [], 0
        if records:
            yield _rows(self.source, self.file, records, places)

    def key(self) -> list[object]:
        """What tells it from other units, as JSON values."""
        return [self.source, self.file, self.offsets]

    def _records(self) -> Iterator[Record | BadRecord]:
        path = Path(self.root) / self.file
        if self.offsets is None:
            return read_records(path, root=self.root)
        return read_records_at(path, self.offsets, root=self.root)


Part = WarcPart | FilesPart


def plan(sources: Sequence[tuple[str, Path]], partition_bytes: int, work: Path) -> list[Part]:
    """Cuts the files of several sources into units of about `partition_bytes` compressed bytes.

    Large WARC files are read through once to find where their records begin; what was found is kept in `work`.

    Args:
        sources: Name and folder of each.
        partition_bytes: See above.
        work: Folder for `plan.json`.

    Raises:
        DataError: A source has no file, or a file has changed since it was collected.
        ManifestError: A source's folder is no artifact.
        StorageError: A file or a store cannot be read.
    """
    parts: list[Part] = []
    found: dict[str, list[int] | None] = _read_json(work / "plan.json")
    for source, folder in sources:
        if is_external(folder) and not part.local_warc(folder):
            parts += part.plan(source, folder, partition_bytes)
            continue
        root, files = _warc_files(source, folder)
        for path in files:
            name = path.relative_to(root).as_posix()
            if path.stat().st_size <= 1.5 * partition_bytes:
                parts.append(WarcPart(source, str(root), name))
                continue
            key = f"{source}/{name}"
            if key not in found:
                found[key] = _offsets(path)
            offsets = found[key]
            cut = _cut(offsets, partition_bytes) if offsets else [None]
            parts += [WarcPart(source, str(root), name, piece) for piece in cut]
    if found:
        atomic_write(work / "plan.json", json.dumps(found))
    return parts


def fingerprint(parts: Sequence[Part]) -> str:
    """Tells two ways of cutting the same files apart."""
    return json_digest([each.key() for each in parts])[:16]


def _warc_files(source: str, folder: Path) -> tuple[Path, list[Path]]:
    """The WARC files of a source, in its folder or where they are, and the folder that they are in."""
    if is_external(folder):
        place = read_place(folder)
        listed = read_listing(folder)
        for file in listed:
            check_unchanged(place.uri(file.file), file)
        return Path(place.root), [Path(place.root) / file.file for file in listed]
    # Only what the manifest lists: a file that was left or put there by somebody could not be traced.
    paths = (folder / entry.path for entry in read_manifest(folder).files)
    files = sorted(path for path in paths if path.name.endswith((".warc", ".warc.gz")))
    if not files:
        raise DataError(f"the source {source} has no WARC file", found=folder, expected="*.warc.gz",
                        hint="run: headwater data collect")  # fmt: skip
    return folder, files


def _read_json(path: Path) -> dict[str, list[int] | None]:
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}


def _offsets(path: Path) -> list[int] | None:
    """Where each record begins, or None when one gzip member holds several, which cannot be read apart."""
    offsets = [record.offset for record in read_records(path)]
    return offsets if len(set(offsets)) == len(offsets) else None


def _cut(offsets: list[int], size: int) -> list[tuple[int, ...]]:
    pieces: list[list[int]] = []
    for offset in offsets:
        if not pieces or offset - pieces[-1][0] >= size:
            pieces.append([])
        pieces[-1].append(offset)
    return [tuple(piece) for piece in pieces]


def _rows(
    source: str, file: str, records: Sequence[Record | BadRecord], places: Sequence[tuple[int, int]]
) -> pa.RecordBatch:
    """A batch of `ROWS`, column by column; `places` are the offset of each record and its number at that offset."""
    good = [record if isinstance(record, Record) else None for record in records]
    count = len(records)
    urls = [record.url if record else "" for record in good]
    digests = [record.payload_sha256 if record else "" for record in good]
    columns: dict[str, Sequence[object]] = {
        "row": [f"{source}/{file}:{offset}:{repeat}" for offset, repeat in places],
        "id": [
            document_id(source, url or f"{file}:{offset}", digest)
            for url, digest, (offset, _) in zip(urls, digests, places, strict=True)
        ],
        "source": [source] * count,
        "url": urls,
        "warc_file": [file] * count,
        "warc_offset": [offset for offset, _ in places],
        "payload_sha256": digests,
        "content_type": [record.content_type if record else "" for record in good],
        "charset": [(record.charset if record else None) or "" for record in good],
        "http_status": [(record.http_status if record else None) or 0 for record in good],
        "fault": [record.reason if isinstance(record, BadRecord) else "" for record in records],
        "payload": [record.payload if record else b"" for record in good],
        "text": [""] * count,
        "language": [""] * count,
        "language_score": [0.0] * count,
        "verdicts": [[]] * count,
    }
    return pa.RecordBatch.from_arrays([pa.array(columns[each.name], each.type) for each in ROWS], schema=ROWS)
