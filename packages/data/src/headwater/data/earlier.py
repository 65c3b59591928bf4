"""Documents of earlier crawls, as indexes (`index.py`): a new crawl is deduplicated against them, unread.

In a pipeline the rows of an index are preferred to all others, and are never decided about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.errors import ConfigError
from headwater.core.manifest import read_manifest
from headwater.core.storage import storage_errors
from headwater.data.arrow import column, compute, table
from headwater.data.engine import Dataset, Engine

Part = Literal["texts", "urls", "bands", "shingles", "lines", "anchors", "passages"]
"""What an index holds of every document, as far as the recipe asks for it: the hash of its text and of its URL, its
bands (or what else finds candidates for near-duplicates), its shingles, the hashes of its lines, and its anchors and
text, in which runs of words are found."""

_ROWS, _BYTES = 10_000, 16_000_000
"""What is read at once: so many rows, or fewer when they are long."""


@dataclass(frozen=True)
class Earlier:
    """The indexes that a pipeline compares with.

    Attributes:
        names: Their names in the recipe. An index's rank among duplicates is its place here.
        folders: Of each.
    """

    names: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    @classmethod
    def open(cls, folders: Mapping[str, Path], options: Mapping[str, Mapping[str, Any]]) -> Earlier:
        """Checks that every index was made with the options that the pipeline uses.

        Args:
            folders: Name → folder.
            options: See `index.options_of`.

        Raises:
            ConfigError: An index was made with other options.
            ManifestError: A folder is no finished index.
        """
        for name, folder in sorted(folders.items()):
            made = read_manifest(folder)
            for step, wanted in options.items():
                if made.kind != "index" or (wanted and made.config.get(step) != wanted):
                    raise ConfigError(
                        f"documents.earlier.{name} is no index that fits documents.{step}",
                        found=made.config.get(step) if made.kind == "index" else f"an artifact of kind {made.kind}",
                        expected=dict(wanted), hint="make it again with this recipe: headwater data index",
                    )  # fmt: skip
        names = tuple(sorted(folders))
        return cls(names, tuple(str(folders[name]) for name in names))

    def beside(self, engine: Engine, part: Part, own: Dataset, schema: pa.Schema) -> Dataset:
        """The pipeline's own rows and those of the indexes."""
        rows = self.read(engine, part, schema)
        return own if rows is None else engine.union([own, rows])

    def read(self, engine: Engine, part: Part, schema: pa.Schema) -> Dataset | None:
        """The rows of the indexes; None without any."""
        readers = [
            IndexPart(str(path), rank, schema)
            for rank, folder in enumerate(self.folders)
            for path in sorted(Path(folder).glob(f"{part}-*.parquet"))
        ]
        return engine.read(readers, schema) if readers else None

    def is_earlier(self, row: bytes) -> bool:
        """Whether a row's key is that of an index."""
        return int.from_bytes(row[:2], "big") < len(self.names)

    def own(self, rows: Any) -> Any:
        """Which of an array of rows' keys are those of the pipeline's own rows."""
        return compute.greater_equal(rows, pa.scalar(len(self.names).to_bytes(2, "big"), pa.binary()))

    def kept(self, first: Any) -> Any:
        """Of an array of first rows, those of indexes; the others as null."""
        return compute.if_else(self.own(first), pa.scalar(None, pa.binary()), first)

    def origin(self, row: bytes) -> dict[str, str]:
        """What a verdict says about where a matched row lies: nothing for the pipeline's own."""
        return {"earlier": self.names[int.from_bytes(row[:2], "big")]} if self.is_earlier(row) else {}


@dataclass(frozen=True)
class IndexPart:
    """A reader of one file of an index.

    Attributes:
        path: The file.
        rank: Of the index.
        schema: Of its rows.
    """

    path: str
    rank: int
    schema: pa.Schema

    @property
    def size(self) -> int:
        """Bytes, about, once read."""
        return 2 * Path(self.path).stat().st_size

    def __call__(self) -> Iterator[pa.RecordBatch]:
        """Its rows, with the index's rank in front of their keys."""
        prefix, nothing = (pa.scalar(part, pa.binary()) for part in (self.rank.to_bytes(2, "big"), b""))
        with storage_errors("read", self.path), pq.ParquetFile(self.path) as file:
            whole = sum(file.metadata.row_group(k).total_byte_size for k in range(file.num_row_groups))
            fitting = _BYTES * file.metadata.num_rows // max(1, whole)
            for batch in file.iter_batches(max(1, min(_ROWS, fitting))):
                rows = compute.binary_join_element_wise(prefix, column(batch, "row"), nothing)
                columns = {name: rows if name == "row" else batch.column(name) for name in batch.schema.names}
                yield from table(columns, self.schema).to_batches()
