"""Encoded slices to a source's token files: `.bin` by copying, `.idx` and the sidecar by columns. Memory stays flat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.documents import SIDECAR, SPLITS
from headwater.core.storage import storage_errors
from headwater.core.tokens import MegatronWriter
from headwater.data.arrow import column, compute, table

ROWS_PER_ROW_GROUP = 10_000


def split_file(slice_file: Path, split: str) -> Path:
    """Where the tokens of a slice's documents of a split lie."""
    return slice_file.with_suffix(f".{split}.bin")


def write_tokens(folder: Path, slices: Sequence[Path], vocab_size: int) -> dict[str, Any]:
    """Writes {train,validation}.{bin,idx} and documents.parquet; returns what was counted.

    Args:
        folder: The source's folder.
        slices: The files of its encoded slices, in the order of the documents.
        vocab_size: Decides the token type.

    Raises:
        DataError: A slice's tokens are not as many as it says.
        StorageError: The disk refused.
    """
    writers = {split: MegatronWriter(folder / split, vocab_size) for split in SPLITS}
    sequences: dict[str, int] = dict.fromkeys(SPLITS, 0)
    tokens: dict[str, int] = dict.fromkeys(SPLITS, 0)
    size = 0
    with SidecarWriter(folder / "documents.parquet") as sidecar:
        for path in slices:
            with storage_errors("read", path), pa.memory_map(str(path)) as stream, pa.ipc.open_file(stream) as reader:
                rows = reader.read_all()
            counts = column(rows, "token_count").to_numpy()
            size += int(compute.sum(column(rows, "text_bytes")).as_py() or 0)
            sequence, start = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
            for split, writer in writers.items():
                mine = compute.equal(column(rows, "split"), split).to_numpy()
                lengths = counts[mine]
                sequence[mine] = sequences[split] + np.arange(len(lengths))
                start[mine] = tokens[split] + np.cumsum(lengths) - lengths
                sequences[split] += len(lengths)
                tokens[split] += int(lengths.sum())
                if len(lengths):
                    writer.add_file(split_file(path, split), lengths)
            columns = {name: rows.column(name) for name in ("id", "url", "split", "text_bytes")}
            places = {"sequence": sequence, "token_start": start, "token_count": counts}
            sidecar.add(table({name: {**columns, **places}[name] for name in SIDECAR.names}, SIDECAR))
    for writer in writers.values():
        writer.close()
    return counted(sequences, tokens, size, vocab_size)


def counted(sequences: dict[str, int], tokens: dict[str, int], text_bytes: int, vocab_size: int) -> dict[str, Any]:
    """The counters of a token data set.

    Args:
        sequences: Split → documents.
        tokens: Split → tokens.
        text_bytes: UTF-8 bytes of all texts.
        vocab_size: Entries of the vocabulary.
    """
    total = sum(tokens.values())
    return {
        "documents": sum(sequences.values()), "train_documents": sequences["train"], "train_tokens": tokens["train"],
        "validation_documents": sequences["validation"], "validation_tokens": tokens["validation"],
        "text_bytes": text_bytes, "bytes_per_token": round(text_bytes / max(total, 1), 3), "vocab_size": vocab_size,
    }  # fmt: skip


class SidecarWriter:
    """Writes `documents.parquet` in row groups of one size, so that they do not depend on how the rows come.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[pa.Table] = []
        with storage_errors("write", path):
            self._file = pq.ParquetWriter(path, SIDECAR, compression="zstd")

    def add(self, rows: pa.Table) -> None:
        """Appends rows."""
        self._waiting.append(rows)
        self._flush(ROWS_PER_ROW_GROUP)

    def _flush(self, least: int) -> None:
        rows = pa.concat_tables(self._waiting) if self._waiting else None
        with storage_errors("write", self._path):
            while rows is not None and len(rows) >= least:
                group = rows.slice(0, ROWS_PER_ROW_GROUP).combine_chunks()
                self._file.write_table(group, row_group_size=ROWS_PER_ROW_GROUP)
                rows = rows.slice(ROWS_PER_ROW_GROUP) if len(rows) > ROWS_PER_ROW_GROUP else None
        self._waiting = [rows] if rows is not None and len(rows) else []

    def __enter__(self) -> SidecarWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush(1)
        with storage_errors("write", self._path):
            self._file.close()
