"""Figures of documents that one package computes and another uses: how hard a checkpoint finds each.

An artifact of kind `figures` holds one file, a row a document that has a figure, in the order of ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet

from headwater.core.errors import DataError
from headwater.core.manifest import changed_files, read_manifest
from headwater.core.storage import storage_errors

_pq: Any = pyarrow.parquet

FIGURES = pa.schema(
    [pa.field("id", pa.string(), nullable=False), pa.field("figure", pa.float64(), nullable=False)]
)  # fmt: skip
FIGURES_FILE = "figures.parquet"


def write_figures(folder: Path, parts: Sequence[pa.Table]) -> int:
    """Writes the file of an artifact, and returns its number of rows.

    Args:
        folder: The artifact's folder.
        parts: Rows of `FIGURES`, in any order.
    """
    rows: Any = pa.concat_tables(parts, promote_options="none") if parts else FIGURES.empty_table()
    with storage_errors("write", folder / FIGURES_FILE):
        _pq.write_table(rows.sort_by("id"), folder / FIGURES_FILE)
    return len(rows)


def check_figures(folder: Path) -> None:
    """Refuses what is no whole artifact of figures.

    Raises:
        DataError: It is of another kind, or its file was changed.
        ManifestError: There is none, or its manifest is damaged.
    """
    kind = read_manifest(folder).kind
    if kind != "figures":
        raise DataError(f"{folder} holds no figures of documents", found=f"an artifact of kind {kind}",
                        hint="headwater eval difficulty makes them")  # fmt: skip
    if changed := changed_files(folder):
        raise DataError(f"{folder / changed[0]} is missing or was changed after it was written",
                        hint="run headwater eval difficulty again")  # fmt: skip


def figures_of(folder: str, ids: Sequence[str]) -> npt.NDArray[np.float64]:
    """The figures of some documents, NaN for none, shape [ids].

    Memory: 40 bytes a document of the artifact, kept for the next call.
    """
    path = Path(folder) / FIGURES_FILE
    with storage_errors("read", path):
        known, figures = _read(path, path.stat().st_mtime_ns)
    found = np.full(len(ids), np.nan)
    if len(known):
        wanted = np.array(ids, dtype="S")
        places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        there = known[places] == wanted
        found[there] = figures[places[there]]
    return found


@lru_cache(maxsize=2)
def _read(path: Path, _written: int) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.float64]]:
    rows = _pq.read_table(path, schema=FIGURES)
    return np.array(rows.column("id").to_pylist(), dtype="S"), rows.column("figure").to_numpy()
