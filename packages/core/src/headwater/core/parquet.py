"""Reading Parquet files: the few ways that tracing and verifying need.

pyarrow's own types are incomplete, so its objects are `Any` here and plain Python or numpy values outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute
import pyarrow.parquet

_pc: Any = pyarrow.compute
_pq: Any = pyarrow.parquet


def count_rows(path: str | Path) -> int:
    """Number of rows, from the file's footer."""
    return int(_pq.read_metadata(path).num_rows)


def column_names(path: str | Path) -> list[str]:
    """Names of the top-level columns."""
    return list(_pq.read_schema(path).names)


def read_strings(path: str | Path, column: str) -> list[str]:
    """One column of strings."""
    return _pq.read_table(path, columns=[column]).column(column).to_pylist()


def read_integers(path: str | Path, column: str) -> npt.NDArray[np.int64]:
    """One column of integers, shape [rows]."""
    return np.asarray(_pq.read_table(path, columns=[column]).column(column).to_numpy(), dtype=np.int64)


def read_rows(path: str | Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """All rows as dictionaries; only for tables without long texts."""
    return _pq.read_table(path, columns=None if columns is None else list(columns)).to_pylist()


def iterate_rows(path: str | Path, columns: Sequence[str], batch: int) -> Iterator[dict[str, Any]]:
    """All rows as dictionaries, decoded `batch` rows at a time."""
    for part in _pq.ParquetFile(path).iter_batches(batch_size=batch, columns=list(columns)):
        yield from part.to_pylist()


def read_row(path: str | Path, row: int) -> dict[str, Any]:
    """One row by its number; only its row group is decoded.

    Raises:
        IndexError: The file has fewer rows.
    """
    file = _pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if row < size:
            return file.read_row_group(group).slice(row, 1).to_pylist()[0]
        row -= size
    raise IndexError(row)


def rows_that_start_with(path: str | Path, column: str, beginning: str) -> list[int]:
    """Numbers of the rows whose string in `column` starts so."""
    values = _pq.read_table(path, columns=[column]).column(column)
    return _pc.indices_nonzero(_pc.starts_with(values, beginning)).to_pylist()


def rows_that_contain(path: str | Path, column: str, part: str) -> list[int]:
    """Numbers of the rows whose string in `column` contains `part`."""
    values = _pq.read_table(path, columns=[column]).column(column)
    return _pc.indices_nonzero(_pc.match_substring(values, part)).to_pylist()
