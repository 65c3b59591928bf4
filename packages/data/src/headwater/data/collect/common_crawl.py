"""Fetch records of Common Crawl: index → HTTP range requests → a WARC file of the members, unchanged.

Every record of Common Crawl is a gzip member of its own, so that a byte range of the big file is a valid WARC
record. It is checked (it must inflate, and be a record of the asked URL) and appended as it came.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headwater.core.console import Progress
from headwater.core.errors import DataError
from headwater.core.storage import atomic_write, storage_errors
from headwater.data.collect.cdx import DATA_URL, INDEX_URL, Capture, captures
from headwater.data.collect.fetcher import Failure, Fetcher
from headwater.data.collect.warc_reader import BadRecord, read_bytes

CAPTURES = "captures.jsonl"
FETCHED = "fetched.jsonl"


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The files (WARC and fetched.jsonl, which says what became of every capture) and the counters."""

    files: list[Path]
    counters: dict[str, Any]


def fetch(
    folder: Path,
    name: str,
    fetcher: Fetcher,
    *,
    crawl: str,
    pattern: str,
    limit: int,
    filters: tuple[str, ...] = (),
    index_url: str = INDEX_URL,
    data_url: str = DATA_URL,
    max_file_bytes: int,
    progress: Progress | None = None,
) -> FetchResult:
    """Fetch up to `limit` captures of a URL pattern, or go on with what `folder` holds.

    The list of captures is asked for once and kept. Each capture is logged after its record is written, with the
    place of it, so that a killed fetch goes on after the last whole record.

    Args:
        folder: work folder.
        name: stem of the WARC files.
        fetcher: does the requests and the waiting.
        crawl: for example "CC-MAIN-2026-05".
        pattern: as `cdx.captures`.
        limit: captures, at most.
        filters: as `cdx.captures`.
        index_url: where the index is.
        data_url: where the WARC files are.
        max_file_bytes: a WARC file that has reached this size is closed and the next one begun.
        progress: is advanced by one a capture.

    Raises:
        DataError: the index cannot be asked, or has no capture.
        StorageError: the disk refused a write.
    """
    with storage_errors("create", folder):
        folder.mkdir(parents=True, exist_ok=True)
    wanted = _captures(folder, fetcher, crawl, pattern, limit, filters, index_url)
    log = folder / FETCHED
    entries = _read_log(log)
    files = _cut(folder, name, entries)
    if progress is not None:
        progress.advance(len(entries))
    with storage_errors("write", log), log.open("a", encoding="utf-8") as logged:
        for capture in wanted[len(entries) :]:
            entry = {**capture.as_json(), **_one(folder, name, fetcher, capture, data_url, max_file_bytes, files)}
            entries.append(entry)
            logged.write(json.dumps(entry, ensure_ascii=False) + "\n")
            logged.flush()
            if progress is not None:
                progress.advance(1, note=capture.url)
    outcomes: dict[str, int] = {}
    for entry in entries:
        outcomes[entry["outcome"]] = outcomes.get(entry["outcome"], 0) + 1
    counters = {"records": outcomes.get("saved", 0), "captures": dict(sorted(outcomes.items()))}
    return FetchResult([*(folder / file for file in files), log], counters)


def _captures(
    folder: Path, fetcher: Fetcher, crawl: str, pattern: str, limit: int, filters: tuple[str, ...], index_url: str
) -> list[Capture]:
    kept = folder / CAPTURES
    if not kept.exists():
        found = islice(captures(fetcher, crawl, pattern, filters, index_url), limit)
        lines = [json.dumps(capture.as_json()) for capture in found if isinstance(capture, Capture)]
        if not lines:
            raise DataError(
                f"{crawl} has no capture of {pattern}", expected="a URL, https://example.org/docs/* or *.example.org"
            )
        atomic_write(kept, "\n".join(lines) + "\n")
    return [Capture(**json.loads(line)) for line in kept.read_text(encoding="utf-8").splitlines()]


def _one(
    folder: Path, name: str, fetcher: Fetcher, capture: Capture, data_url: str, max_file_bytes: int, files: list[str]
) -> dict[str, Any]:
    """Fetches one capture and appends it; returns what became of it."""
    url = f"{data_url.rstrip('/')}/{quote(capture.filename)}"
    answer = fetcher.get(url, byte_range=(capture.offset, capture.offset + capture.length - 1))
    if isinstance(answer, Failure):
        return {"outcome": answer.outcome, "detail": answer.detail}
    if answer.status != 206:
        return {"outcome": "http", "detail": f"{answer.status} {answer.reason}, expected 206 Partial Content"}
    if len(answer.body) != capture.length:
        return {"outcome": "short", "detail": f"{len(answer.body):,} bytes, expected {capture.length:,}"}
    for record in read_bytes(answer.body, capture.filename):
        if isinstance(record, BadRecord):
            return {"outcome": "bad_record", "detail": record.reason}
    if not files or (folder / files[-1]).stat().st_size >= max_file_bytes:
        files.append(f"{name}-{len(files):05d}.warc.gz")
    path = folder / files[-1]
    with storage_errors("write", path), path.open("ab") as file:
        start = file.tell()
        file.write(answer.body)
        file.flush()
        os.fsync(file.fileno())
    return {"outcome": "saved", "file": path.name, "start": start, "stop": start + capture.length}


def _read_log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of the log; a torn last one is cut off."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) != len(data):
        with storage_errors("repair", path):
            os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def _cut(folder: Path, name: str, entries: list[dict[str, Any]]) -> list[str]:
    """Removes what was written after the last logged record; returns the names of the files that stay."""
    ends: dict[str, int] = {entry["file"]: entry["stop"] for entry in entries if entry["outcome"] == "saved"}
    for path in folder.glob(f"{name}-*.warc.gz"):
        with storage_errors("repair", path):
            if path.name in ends:
                os.truncate(path, ends[path.name])
            else:
                path.unlink()
    return sorted(ends)
