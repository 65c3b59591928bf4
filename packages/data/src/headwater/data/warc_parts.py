"""Units of work over a source's WARC files: whole small files, slices of large ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from headwater.core.documents import document_id
from headwater.core.errors import DataError
from headwater.core.manifest import read_manifest
from headwater.core.storage import atomic_write, json_digest
from headwater.data.collect.warc_reader import BadRecord, Record, read_record_at, read_records
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
        rows: list[dict[str, object]] = []
        size, last, repeat = 0, -1, 0
        for record in self._records():
            repeat = repeat + 1 if record.offset == last else 0
            last = record.offset
            rows.append(_row(self.source, record, self.file, repeat))
            size += len(record.payload) if isinstance(record, Record) else 0
            if len(rows) == _BATCH_ROWS or size >= _BATCH_BYTES:
                yield pa.RecordBatch.from_pylist(rows, schema=ROWS)
                rows, size = [], 0
        if rows:
            yield pa.RecordBatch.from_pylist(rows, schema=ROWS)

    def _records(self) -> Iterator[Record | BadRecord]:
        path = Path(self.root) / self.file
        if self.offsets is None:
            yield from read_records(path, root=self.root)
            return
        for offset in self.offsets:
            try:
                yield read_record_at(path, offset)
            except DataError as error:
                yield BadRecord(self.file, offset, str(error.found or error.message))


def plan(sources: Sequence[tuple[str, Path]], partition_bytes: int, work: Path) -> list[WarcPart]:
    """Cuts the WARC files of several sources into units of about `partition_bytes` compressed bytes.

    Large files are read through once to find where their records begin; what was found is kept in `work`.

    Args:
        sources: Name and folder of each.
        partition_bytes: See above.
        work: Folder for `plan.json`.

    Raises:
        DataError: A source has no WARC file.
        ManifestError: A source's folder is no artifact.
    """
    parts: list[WarcPart] = []
    found: dict[str, list[int] | None] = _read_json(work / "plan.json")
    for source, root in sources:
        # Only what the manifest lists: a file that was left or put there by somebody could not be traced.
        listed = (root / entry.path for entry in read_manifest(root).files)
        files = sorted(path for path in listed if path.name.endswith((".warc", ".warc.gz")))
        if not files:
            raise DataError(f"the source {source} has no WARC file", found=root, expected="*.warc.gz",
                            hint="run: headwater data collect")  # fmt: skip
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


def fingerprint(parts: Sequence[WarcPart]) -> str:
    """Tells two ways of cutting the same files apart."""
    return json_digest([[part.source, part.file, part.offsets] for part in parts])[:16]


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


def _row(source: str, record: Record | BadRecord, file: str, repeat: int) -> dict[str, object]:
    bad = isinstance(record, BadRecord)
    url = "" if bad else record.url
    digest = "" if bad else record.payload_sha256
    return {
        "row": f"{source}/{file}:{record.offset}:{repeat}",
        "id": document_id(source, url or f"{file}:{record.offset}", digest),
        "source": source,
        "url": url,
        "warc_file": file,
        "warc_offset": record.offset,
        "payload_sha256": digest,
        "content_type": "" if bad else record.content_type,
        "charset": "" if bad else record.charset or "",
        "http_status": 0 if bad else record.http_status or 0,
        "fault": record.reason if bad else "",
        "payload": b"" if bad else record.payload,
        "text": "",
        "language": "",
        "language_score": 0.0,
        "verdicts": [],
    }
