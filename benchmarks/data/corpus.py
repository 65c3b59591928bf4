"""The benchmark corpus: the text of a folder of WARC files, as batches of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from headwater.data.operators.extract import Extract, ExtractConfig
from headwater.data.warc_parts import WarcPart


def batches(folder: Path, limit: int | None = None) -> Iterator[pa.RecordBatch]:
    """Rows with their extracted text, as the pipeline's filters get them.

    Args:
        folder: Holds `*.warc.gz`.
        limit: Most documents.

    Raises:
        SystemExit: There is no such file; benchmarks without a corpus are skipped.
    """
    files = sorted(folder.glob("*.warc.gz"))
    if not files:
        raise SystemExit(f"skipped: no *.warc.gz in {folder}; give the folder of a corpus by --corpus")
    extract = Extract(ExtractConfig(scope="full"))
    left = limit
    for file in files:
        for batch in WarcPart("web", str(folder), file.name)():
            kept = extract.process(batch).kept
            if left is not None:
                kept = kept.slice(0, left)
                left -= kept.num_rows
            if kept.num_rows:
                yield kept
            if left == 0:
                return
