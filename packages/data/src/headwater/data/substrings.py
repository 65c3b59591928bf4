"""Repeated runs of words on any engine: anchors → contexts → windows → cuts. `operators.substring_dedup` has the rule.

Most of what is repeated is settled by contexts (the words under all windows of one anchor): of equal ones, which share
a key, the windows of all but the first are repeated. Only where an anchor has different contexts, at the ends of runs,
are windows looked at one by one, and of each context only those of its first occurrence. Then windows of one key meet,
and again all but the first are repeated. No step holds more than the occurrences of one anchor, or of one window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.data.arrow import column, compute, table, take, values
from headwater.data.cuts import CUTS, Gather
from headwater.data.engine import Dataset, Engine, Needs
from headwater.data.operators import substring_dedup
from headwater.data.operators.substring_dedup import SubstringDedupConfig
from headwater.data.rows import is_whole
from headwater.data.shuffle import plain

_PLACED = [pa.field("row", pa.binary()), pa.field("place", pa.int64())]
ANCHORS = pa.schema(
    [pa.field("key", pa.int64()), pa.field("context", pa.binary()), *_PLACED, pa.field("windows", pa.int64()),
     *list(CUTS)[1:]]
)  # fmt: skip
"""An anchor: its hash, that of its context, its first window's number and how many there are, and their bytes."""
FOUND = pa.schema([*_PLACED, pa.field("windows", pa.int64()), *list(CUTS)[1:], pa.field("repeated", pa.bool_())])
"""The windows of an anchor that are repeated, all of them, or else are to be looked at one by one."""
WINDOWS = pa.schema([pa.field("key", pa.binary()), *_PLACED, *list(CUTS)[1:]])
"""A window: its hash, where it begins (words), and its bytes."""


def repeated_substrings(engine: Engine, alive: Dataset, config: SubstringDedupConfig) -> Dataset:
    """Cuts (`cuts.GATHERED`) of the runs of words that a preferred document, or the text before, has already."""
    anchors = engine.derive(alive, AnchorRows(config))
    order = ["context", "row", "place"]
    found = engine.group_by_key("substring-anchors", anchors, ["key"], order, Contexts(config.min_tokens))
    asked = engine.group_by_key("substring-asked", engine.derive(found, Asked()), ["row"], ["start", "stop"], Gather())
    windows = engine.derive(engine.join(alive, asked, left_on="row", right_on="row"), WindowRows(config))
    again = engine.group_by_key("substring-windows", windows, ["key"], ["row", "place"], Again(config.min_tokens))
    cuts = engine.union([engine.derive(found, Repeated()), again])
    return engine.group_by_key("substring-cuts", cuts, ["row"], ["start", "stop"], Gather())


@dataclass(frozen=True)
class AnchorRows:
    """The anchors of each text that counts."""

    config: SubstringDedupConfig
    needs: ClassVar[Needs] = Needs(("row", "text", "content_type"))
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"anchors": ANCHORS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `row`, `text` and `content_type`."""
        exempt = [is_whole(media_type, self.config.exempt_types) for media_type in values(batch, "content_type")]
        batch = batch.filter(pa.array([not each for each in exempt], pa.bool_()))
        found = substring_dedup.anchors_of(column(batch, "text"), self.config)
        columns = {"key": pa.array(found.keys.view(np.int64)), "context": _binary16(found.contexts),
                   "row": take(column(batch, "row"), found.owners), "place": pa.array(found.places[:, 0]),
                   "windows": pa.array(found.places[:, 1] - found.places[:, 0]),
                   "start": pa.array(found.spans[:, 0]), "stop": pa.array(found.spans[:, 1])}  # fmt: skip
        return {"anchors": table(columns, ANCHORS)}


@dataclass(frozen=True)
class Contexts:
    """Which contexts are repeated, and which must be looked at more closely."""

    min_tokens: int
    output: pa.Schema = FOUND

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `ANCHORS` by key, ordered by context and then by preference and place."""
        new_key = _differs(groups.column("key").to_numpy())
        fresh = new_key | _differs(plain(groups.column("context")))
        repeated = _repeated(groups, fresh, self.min_tokens)
        number = np.cumsum(new_key) - 1
        contexts = np.bincount(number[fresh], minlength=int(new_key.sum()))
        closer = ~repeated & (contexts[number] > 1)
        found = groups.append_column("repeated", pa.array(repeated))
        return found.filter(pa.array(repeated | closer)).select(FOUND.names)


@dataclass(frozen=True)
class Repeated:
    """The cuts that are settled."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"cuts": CUTS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """Reads `FOUND`."""
        return {"cuts": batch.filter(batch.column("repeated")).select(CUTS.names)}


@dataclass(frozen=True)
class Asked:
    """The windows [start, stop) that are not."""

    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"windows": CUTS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `FOUND`."""
        batch = batch.filter(compute.invert(batch.column("repeated")))
        stop = compute.add(batch.column("place"), batch.column("windows"))
        return {"windows": table({"row": batch.column("row"), "start": batch.column("place"), "stop": stop}, CUTS)}


@dataclass(frozen=True)
class WindowRows:
    """The windows of each text that must be looked at one by one."""

    config: SubstringDedupConfig
    needs: ClassVar[Needs] = Needs(("row", "text", "cuts"), valid="cuts")
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"windows": WINDOWS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `row` and `text`, joined with the numbers of windows as `cuts.GATHERED`."""
        batch = batch.filter(compute.is_valid(batch.column("cuts")))
        wanted = [_numbers(ranges) for ranges in values(batch, "cuts")]
        hashes, spans = substring_dedup.windows_of(column(batch, "text"), wanted, self.config)
        owners = np.repeat(np.arange(batch.num_rows), [len(each) for each in wanted])
        columns = {"key": _binary16(hashes), "row": take(column(batch, "row"), owners),
                   "place": pa.array(np.concatenate([np.empty(0, np.int64), *wanted])),
                   "start": pa.array(spans[:, 0]), "stop": pa.array(spans[:, 1])}  # fmt: skip
        return {"windows": table(columns, WINDOWS)}


@dataclass(frozen=True)
class Again:
    """The windows that are repeated."""

    min_tokens: int
    output: pa.Schema = CUTS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `WINDOWS` by key, in order of preference and then of place."""
        repeated = _repeated(groups, _differs(plain(groups.column("key"))), self.min_tokens)
        return groups.filter(pa.array(repeated)).select(CUTS.names)


def _repeated(groups: pa.Table, fresh: npt.NDArray[np.bool_], min_tokens: int) -> npt.NDArray[np.bool_]:
    """Which rows stand in a later text than the first of their group, or begin after its first window has ended."""
    first = np.maximum.accumulate(np.where(fresh, np.arange(len(fresh)), 0))
    rows, places = plain(groups.column("row")), groups.column("place").to_numpy()
    return (rows != rows[first]) | (places - places[first] >= min_tokens)


def _differs(keys: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """True where a key differs from the one before it."""
    fresh = np.ones(len(keys), np.bool_)
    fresh[1:] = keys[1:] != keys[:-1]
    return fresh


def _binary16(hashes: npt.NDArray[np.uint64]) -> Any:
    """Pairs of 64-bit hashes as binary values of 16 bytes."""
    build: Any = pa.Array.from_buffers
    buffer: Any = pa.py_buffer
    offsets = buffer(np.arange(len(hashes) + 1, dtype=np.int32) * np.int32(16))
    return build(pa.binary(), len(hashes), [None, offsets, buffer(np.ascontiguousarray(hashes, "<u8"))])


def _numbers(ranges: bytes) -> npt.NDArray[np.int64]:
    """The numbers in ranges [start, stop)."""
    pairs = np.frombuffer(ranges, "<i8").reshape(-1, 2)
    return np.concatenate([np.arange(start, stop) for start, stop in pairs])
