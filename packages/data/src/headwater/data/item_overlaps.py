"""Which documents hold which evaluation items, read from what `decontaminate` said about each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.documents import ITEM_OVERLAPS, ITEM_OVERLAPS_FILE
from headwater.core.storage import storage_errors
from headwater.data.arrow import column, compute
from headwater.data.engine import Dataset, Engine, Needs
from headwater.data.operators.decontaminate import Decontaminate

_ROW_GROUP = 4096
_COPIED = ("id", "source", "url", "split")


@dataclass(frozen=True)
class ItemOverlaps:
    """A row for each item that a document holds.

    Attributes:
        kept: Whether the documents were kept.
    """

    kept: bool
    needs: ClassVar[Needs] = Needs((*_COPIED, "verdicts"))
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"overlaps": ITEM_OVERLAPS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads documents."""
        verdicts = column(batch, "verdicts")
        said = compute.list_flatten(verdicts)
        detail = compute.struct_field(said, "detail")
        mine = compute.and_(
            compute.equal(compute.struct_field(said, "operator"), Decontaminate.name), compute.not_equal(detail, "")
        )
        places = compute.list_parent_indices(verdicts).filter(mine)
        rows = [
            {**document, **hit, "kept": self.kept}
            for document, detail in zip(
                batch.select(list(_COPIED)).take(places).to_pylist(), detail.filter(mine).to_pylist(), strict=True
            )
            for hit in _best(json.loads(detail)["hits"])
        ]
        return {"overlaps": pa.Table.from_pylist(rows, schema=ITEM_OVERLAPS)}


def write_item_overlaps(engine: Engine, kept: Dataset, rejected: Dataset, folder: Path, *, marked: bool) -> None:
    """Writes `item_overlaps.parquet`.

    Args:
        engine: Where to run.
        kept: The documents.
        rejected: Those that were set aside.
        folder: Of the documents.
        marked: Whether kept documents may hold items.
    """
    sides = [engine.derive(rejected, ItemOverlaps(False))]
    if marked:
        sides.append(engine.derive(kept, ItemOverlaps(True)))
    found = engine.collect(engine.union(sides)).select(ITEM_OVERLAPS.names).cast(ITEM_OVERLAPS)
    keys = ("task", "index", "source", "id", "kept", "longest", "coverage")
    found = found.sort_by([(key, "ascending") for key in keys])
    with storage_errors("write", folder / ITEM_OVERLAPS_FILE):
        pq.write_table(found, folder / ITEM_OVERLAPS_FILE, row_group_size=_ROW_GROUP, compression="zstd",
                       store_schema=False)  # fmt: skip


def _best(hits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each item the hit with most of it."""
    best: dict[tuple[str, int], dict[str, Any]] = {}
    for hit in hits:
        row = {name: hit.get(name) for name in ("task", "index", "longest", "coverage")}
        known = best.setdefault((hit["task"], hit["index"]), row)
        if (row["coverage"] or 0, row["longest"]) > (known["coverage"] or 0, known["longest"]):
            best[hit["task"], hit["index"]] = row
    return list(best.values())
