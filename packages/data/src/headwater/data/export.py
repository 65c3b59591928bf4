"""`headwater data export`: the documents of a run as files that other programs read, in a folder or a store.

One shard a file of RUN/documents, in its order; of conversations as messages, one a file and kind. A shard appears
whole or not at all, so an interrupted export goes on at the first one that is missing; `export.json` is written last
and lists all of them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from backports import zstd

from headwater.core.console import progress
from headwater.core.documents import DOCUMENTS, REJECTED, holds_documents
from headwater.core.errors import ConfigError, DataError
from headwater.core.layout import RunLayout
from headwater.core.manifest import read_manifest
from headwater.core.objects import join, open_object, present, put, sha256
from headwater.core.storage import canonical_json, storage_errors
from headwater.data import PRODUCER, export_messages
from headwater.data.arrow import compute
from headwater.data.conversations.model import Kind
from headwater.data.conversations.sources import conversation_sources
from headwater.data.export_messages import Written

BEGUN, FINISHED = "_export.json", "export.json"
MESSAGES = "messages"
FORMATS = ("jsonl.zst", "parquet", MESSAGES)
_BATCH_ROWS = 500
_LEVEL = 6


@dataclass(frozen=True)
class Wanted:
    """What is exported.

    Attributes:
        format: Of `FORMATS`. As messages, only sources of conversations can be exported, and only what was kept.
        verdicts: Whether each document carries what every operator said of it.
        rejected: Whether rejected documents go along, in `rejected/`.
        sources: Only these; empty: all.
    """

    format: str = "jsonl.zst"
    verdicts: bool = False
    rejected: bool = False
    sources: tuple[str, ...] = ()


def export(layout: RunLayout, out: str, wanted: Wanted) -> tuple[dict[str, Any], bool]:
    """Writes the documents of a run below `out`, or goes on with it, or finds it done.

    Args:
        layout: The run folder.
        out: Folder or URI.
        wanted: What, and how.

    Returns:
        The content of `export.json`, and whether anything was written.

    Raises:
        ConfigError: `out` holds another export; a source does not exist, or has nothing in this format.
        ManifestError: The run has no finished documents.
        StorageError: The disk or the store refused.
    """
    manifest = read_manifest(layout.documents)
    unknown = sorted(set(wanted.sources) - set(manifest.counters.get("sources", {})))
    if unknown:
        raise ConfigError(f"the run has no source {unknown[0]}", expected=", ".join(manifest.counters["sources"]))
    if wanted.format == MESSAGES:
        wanted = _conversations(wanted, conversation_sources(manifest.config))
    head = {"producer": PRODUCER, "documents_digest": manifest.digest, "format": wanted.format,
            "verdicts": wanted.verdicts, "rejected": wanted.rejected, "sources": list(wanted.sources)}  # fmt: skip
    finished = _read(join(out, FINISHED))
    begun = _read(join(out, BEGUN))
    for held in (finished, begun):
        if held is not None and {name: held.get(name) for name in head} != head:
            raise ConfigError(f"{out} holds another export", found=_described(held), expected=_described(head),
                              hint="choose another --out, or remove what is there")  # fmt: skip
    if finished is not None:
        return finished, False
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "shard"
        if begun is None:
            _write(join(out, BEGUN), head, work)
        parts = [entry.path for entry in manifest.files if holds_documents(entry.path)]
        parts = [part for part in parts if wanted.rejected or not part.startswith("rejected/")]
        shards: list[dict[str, Any]] = []
        messages: list[tuple[Kind, Written]] = []
        with progress(len(parts), "export") as bar:
            for part in parts:
                shards += _shards(layout.documents / part, part, out, wanted, work, messages, begun is not None)
                bar.advance(1, note=part)
        if wanted.format == MESSAGES:
            _put(join(out, export_messages.CARD), export_messages.card(messages), work)
        total = {"documents": sum(shard["documents"] for shard in shards), "bytes": sum(s["bytes"] for s in shards)}
        result = {**head, **total, "shards": shards}
        _write(join(out, FINISHED), result, work)
    return result, True


def _conversations(wanted: Wanted, there_are: Sequence[str]) -> Wanted:
    """The wish with the sources that it can be fulfilled for.

    Raises:
        ConfigError: It cannot.
    """
    if wanted.rejected or wanted.verdicts:
        raise ConfigError("messages have no place for verdicts and rejected documents",
                          hint="export these in another format")  # fmt: skip
    others = [source for source in wanted.sources if source not in there_are]
    if others or not there_are:
        raise ConfigError(
            f"the source {others[0]} holds no conversations" if others else "no source of the run holds conversations",
            expected=", ".join(there_are) or "a source whose operators begin with conversation",
            hint="see docs/data-instruction.md",
        )
    return replace(wanted, sources=wanted.sources or tuple(there_are))


def _shards(
    path: Path, part: str, out: str, wanted: Wanted, work: Path, messages: list[tuple[Kind, Written]], going_on: bool
) -> list[dict[str, Any]]:
    """Writes the shards of a file, unless it goes on and they are there; none for one without documents.

    What messages were written is added to `messages`.
    """
    name = part.removesuffix(".parquet")
    rows = sum(batch.num_rows for batch in _batches(path, wanted, ["source"]))
    if not rows:
        return []
    if wanted.format == MESSAGES:
        return _message_shards(path, name, out, wanted, work, messages, going_on)
    uri = join(out, f"{name}.{wanted.format}")
    if not going_on or present(uri) is None:
        with storage_errors("write", work):
            if wanted.format == "parquet":
                _as_parquet(path, part, wanted, work)
            else:
                _as_json_lines(path, wanted, work)
        put(work, uri)
    return [_listed(uri, f"{name}.{wanted.format}", rows)]


def _message_shards(
    path: Path, name: str, out: str, wanted: Wanted, work: Path, messages: list[tuple[Kind, Written]], going_on: bool
) -> list[dict[str, Any]]:
    shards: list[dict[str, Any]] = []
    with storage_errors("write", work), tempfile.TemporaryDirectory(dir=work.parent) as folder:
        rows = _batches(path, wanted, export_messages.COLUMNS)
        for kind, written in export_messages.write_messages(rows, Path(folder)).items():
            uri = join(out, f"{kind}/{name}.jsonl")
            if not going_on or present(uri) is None:
                put(written.path, uri)
            shards.append(_listed(uri, f"{kind}/{name}.jsonl", written.documents))
            messages.append((kind, written))
    return shards


def _listed(uri: str, name: str, documents: int) -> dict[str, Any]:
    size, digest = sha256(uri)
    return {"file": name, "documents": documents, "bytes": size, "sha256": digest}


def _batches(path: Path, wanted: Wanted, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=list(columns) if columns else None):
                if wanted.sources:
                    batch = batch.filter(compute.is_in(batch.column("source"), pa.array(wanted.sources)))
                yield batch
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="run: headwater verify") from error


def _columns(names: Sequence[str], wanted: Wanted) -> list[str]:
    return [name for name in names if wanted.verdicts or name != "verdicts"]


def _as_parquet(path: Path, part: str, wanted: Wanted, work: Path) -> None:
    whole = REJECTED if part.startswith("rejected/") else DOCUMENTS
    schema = pa.schema([whole.field(name) for name in _columns(whole.names, wanted)])
    with pq.ParquetWriter(work, schema, compression="zstd") as writer:
        for batch in _batches(path, wanted, schema.names):
            writer.write_table(pa.Table.from_batches([batch]).select(schema.names).cast(schema))


def _as_json_lines(path: Path, wanted: Wanted, work: Path) -> None:
    with zstd.open(work, "wb", level=_LEVEL) as lines:
        for batch in _batches(path, wanted):
            for row in batch.select(_columns(batch.schema.names, wanted)).to_pylist():
                row["language_score"] = float(f"{row['language_score']:.6g}")  # 32 bits have no more digits
                lines.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _read(uri: str) -> dict[str, Any] | None:
    if present(uri) is None:
        return None
    with open_object(uri) as stream:
        return _parsed(stream, uri)


def _parsed(stream: IO[bytes], uri: str) -> dict[str, Any]:
    try:
        value: Any = json.loads(stream.read())
    except ValueError as error:
        raise ConfigError(f"{uri} is no list of an export", found=str(error), hint="choose another --out") from error
    return value if isinstance(value, dict) else {}


def _write(uri: str, value: dict[str, Any], work: Path) -> None:
    _put(uri, canonical_json(value) + "\n", work)


def _put(uri: str, content: str, work: Path) -> None:
    with storage_errors("write", work):
        work.write_text(content, encoding="utf-8")
    put(work, uri)


def _described(head: dict[str, Any]) -> str:
    extras = [name for name in ("verdicts", "rejected") if head.get(name)]
    of = ", ".join(head.get("sources") or ["all sources"])
    return (
        f"{' + '.join([str(head.get('format')), *extras])}, {of}, of documents {str(head.get('documents_digest'))[:12]}"
    )
