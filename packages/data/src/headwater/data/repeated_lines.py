"""Repeated lines or paragraphs on any engine: of equal ones the first stays, and the others are cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import ClassVar

import pyarrow as pa

from headwater.data.arrow import column, compute, table, values
from headwater.data.cuts import CUTS, REPEATS, Gather
from headwater.data.earlier import Earlier
from headwater.data.engine import Dataset, Engine, Needs
from headwater.data.firsts import with_first
from headwater.data.operators.line_dedup import LineDedupConfig, spans_of_lines
from headwater.data.rows import is_whole

LINES = pa.schema([pa.field("key", pa.binary()), *CUTS])
PLACES = pa.schema(list(LINES)[:3])


def repeated_lines(engine: Engine, alive: Dataset, config: LineDedupConfig, earlier: Earlier) -> Dataset:
    """Cuts (`cuts.GATHERED`) of the lines or paragraphs that a preferred document, or the text before, has already."""
    lines = engine.map_batches("lines", alive, Lines(config))["lines"]
    met = with_first(engine, "line-firsts", lines, PLACES, earlier=earlier.read(engine, "lines", PLACES))
    cuts = engine.derive(met, Again(earlier))
    return engine.group_by_key("line-cuts", cuts, ["row"], ["start", "stop"], Gather(earlier))


@dataclass(frozen=True)
class Lines:
    """The lines (or paragraphs) of each text, by the hash of their words."""

    config: LineDedupConfig
    needs: ClassVar[Needs] = Needs(("row", "text", "content_type"))
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"lines": LINES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `row`, `text` and `content_type`."""
        found: dict[str, list[object]] = {name: [] for name in LINES.names}
        columns = (values(batch, name) for name in ("row", "text", "content_type"))
        for row, text, media_type in zip(*columns, strict=True):
            if is_whole(media_type, self.config.exempt_types):
                continue
            for words, start, stop in spans_of_lines(text, self.config):
                found["key"].append(blake2b(words.encode("utf-8", "surrogatepass"), digest_size=16).digest())
                found["row"].append(row)
                found["start"].append(start)
                found["stop"].append(stop)
        return {"lines": table(found, LINES)}


@dataclass(frozen=True)
class Again:
    """The lines that are not the first of their key."""

    earlier: Earlier
    needs: ClassVar[Needs] = Needs((*CUTS.names, "first_row", "first_start"), valid="first_row")
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"cuts": REPEATS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """Reads `LINES` with the first line of each key."""
        pairs = (("row", "first_row"), ("start", "first_start"))
        others = [compute.not_equal(column(batch, name), column(batch, first)) for name, first in pairs]
        found = batch.filter(compute.fill_null(compute.or_(*others), False))
        return {"cuts": found.append_column("kept", self.earlier.kept(found.column("first_row"))).select(REPEATS.names)}
