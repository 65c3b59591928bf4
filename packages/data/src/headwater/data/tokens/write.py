"""Encoded slices to a source's token files: `.bin` by copying, `.idx` and the sidecar by columns. Memory stays flat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
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
    target = folder / "documents.parquet"
    with storage_errors("write", target), pq.ParquetWriter(target, SIDECAR, compression="zstd") as sidecar:
        waiting: list[pa.Table] = []
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
            waiting.append(table({name: {**columns, **places}[name] for name in SIDECAR.names}, SIDECAR))
            waiting = _flush(sidecar, waiting, ROWS_PER_ROW_GROUP)
        _flush(sidecar, waiting, 1)
    for writer in writers.values():
        writer.close()
    total = sum(tokens.values())
    return {
        "documents": sum(sequences.values()), "train_documents": sequences["train"], "train_tokens": tokens["train"],
        "validation_documents": sequences["validation"], "validation_tokens": tokens["validation"],
        "text_bytes": size, "bytes_per_token": round(size / max(total, 1), 3), "vocab_size": vocab_size,
    }  # fmt: skip


def _flush(sidecar: pq.ParquetWriter, waiting: list[pa.Table], least: int) -> list[pa.Table]:
    """Writes whole row groups, so that they do not depend on the slices; gives back the rows that are left."""
    rows = pa.concat_tables(waiting) if waiting else None
    while rows is not None and len(rows) >= least:
        sidecar.write_table(rows.slice(0, ROWS_PER_ROW_GROUP).combine_chunks(), row_group_size=ROWS_PER_ROW_GROUP)
        rows = rows.slice(ROWS_PER_ROW_GROUP) if len(rows) > ROWS_PER_ROW_GROUP else None
    return [rows] if rows is not None and len(rows) else []
