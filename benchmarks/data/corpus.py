"""The benchmark corpus: the text of a folder of WARC files, as batches of rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from headwater.data.operators.extract import Extract, ExtractConfig
from headwater.data.warc_parts import WarcPart


def batches(folder: Path, limit: int | None = None, rows: int = 256) -> list[pa.RecordBatch]:
    """Extracted texts, in the column `text`.

    Args:
        folder: Holds `*.warc.gz`.
        limit: About how many documents, taken evenly from the files; None or 0: all.
        rows: Documents in a batch.

    Raises:
        SystemExit: There is no such file; benchmarks without a corpus are skipped.
    """
    files = sorted(folder.glob("*.warc.gz"))
    if not files:
        raise SystemExit(f"skipped: no *.warc.gz in {folder}; give the folder of a corpus by --corpus")
    extract = Extract(ExtractConfig(scope="full"))
    texts: list[pa.Array] = []
    for file in files:
        left = -(-limit // len(files)) if limit else None
        for batch in WarcPart("web", str(folder), file.name)():
            texts.append(extract.process(batch).kept.column("text").slice(0, left))
            if left is not None:
                left -= len(texts[-1])
                if left == 0:
                    break
    whole = pa.concat_arrays(texts)
    schema = pa.schema([pa.field("text", pa.string(), nullable=False)])
    cuts = [pa.concat_arrays([whole.slice(start, rows)]) for start in range(0, len(whole), rows)]
    return [pa.RecordBatch.from_arrays([cut], schema=schema) for cut in cuts]


def megabytes(found: list[pa.RecordBatch]) -> float:
    """Bytes of text, in millions."""
    return sum(batch.column("text").nbytes for batch in found) / 1e6
