"""Repeated runs of words on any engine: anchors → contexts → windows → cuts. `operators.substring_dedup` has the rule.

Anchors that occur once need no further look. Most of what is repeated is settled by contexts (the words under all
windows of one anchor): of equal ones the windows of all but the first are repeated. Only where an anchor has different
contexts, at the ends of runs, are windows looked at one by one, and of each context only those of its first occurrence.
Then again of equal windows all but the first are repeated. However often an anchor, a context or a window occurs, no
step brings more than one row a batch of it together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from headwater.data.arrow import column, compute, packed, table, take, values
from headwater.data.cuts import CUTS, REPEATS, Gather
from headwater.data.earlier import Earlier
from headwater.data.engine import Dataset, Engine, Needs
from headwater.data.firsts import with_first
from headwater.data.operators import substring_dedup
from headwater.data.operators.substring_dedup import I64, SubstringDedupConfig
from headwater.data.rows import is_whole
from headwater.data.shuffle import differs

_PLACED = [pa.field("row", pa.binary()), pa.field("place", pa.int64())]
FIRST = pa.schema([pa.field("key", pa.binary()), *_PLACED])
ANCHORS = pa.schema([*FIRST, pa.field("windows", pa.int64()), *list(CUTS)[1:], pa.field("anchor", pa.int64())])
"""An anchor: the hash of it and its context, its first window's number and how many there are, their bytes, and its own
hash."""
KINDS = pa.schema([ANCHORS.field("anchor"), *(pa.field(name, pa.int64()) for name in ("rows", "least", "greatest"))])
"""How often an anchor's hash occurs, and half the hashes of its least and greatest context: they differ if it has
several."""
PASSAGES = pa.schema([pa.field("row", pa.binary()), pa.field("text", pa.string())])
WINDOWS = pa.schema([pa.field("key", pa.binary()), *_PLACED, *list(CUTS)[1:]])
"""A window: its hash, where it begins (words), and its bytes."""
FIRST = pa.schema([pa.field("key", pa.binary()), *_PLACED])


def repeated_substrings(engine: Engine, alive: Dataset, config: SubstringDedupConfig, earlier: Earlier) -> Dataset:
    """Cuts (`cuts.GATHERED`) of the runs of words that a preferred document, or the text before, has already."""
    own = engine.map_batches("substring-anchors", alive, AnchorRows(config))["anchors"]
    anchors = earlier.beside(engine, "anchors", own, ANCHORS)
    kinds = engine.group_by_key("substring-kinds", engine.derive(anchors, Kinds()), ["anchor"], [], AddKinds())
    contexts = engine.map_batches(
        "substring-contexts", engine.join(anchors, kinds, left_on="anchor", right_on="anchor"), Several()
    )["contexts"]
    met = with_first(engine, "substring-met", contexts, FIRST)
    found = engine.map_batches("substring-found", met, Settle(config.min_tokens, earlier))
    asked = engine.group_by_key("substring-asked", found["asked"], ["row"], ["start", "stop"], Gather())
    texts = earlier.beside(engine, "passages", engine.derive(alive, Passages()), PASSAGES)
    asking = engine.join(texts, asked, left_on="row", right_on="row")
    windows = engine.map_batches("substring-windows", asking, WindowRows(config))["windows"]
    again = engine.derive(with_first(engine, "substring-again", windows, FIRST), Again(config.min_tokens, earlier))
    cuts = engine.union([found["cuts"], again])
    return engine.group_by_key("substring-cuts", cuts, ["row"], ["start", "stop"], Gather(earlier))


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
        columns = {"key": packed(np.column_stack([found.keys, found.contexts])),
                   "row": take(column(batch, "row"), found.owners), "place": pa.array(found.places[:, 0]),
                   "windows": pa.array(found.places[:, 1] - found.places[:, 0]),
                   "start": pa.array(found.spans[:, 0]), "stop": pa.array(found.spans[:, 1]),
                   "anchor": pa.array(found.keys.view(np.int64))}  # fmt: skip
        return {"anchors": table(columns, ANCHORS)}


@dataclass(frozen=True)
class Kinds:
    """The kinds of each anchor in a batch."""

    needs: ClassVar[Needs] = Needs(("key", "anchor"))
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"kinds": KINDS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `ANCHORS`."""
        anchors = column(batch, "anchor").to_numpy()
        order = np.argsort(anchors)
        halves = compute.binary_slice(batch.column("key"), 8, 16)
        half = np.frombuffer(b"".join(halves.to_pylist()), "<i8")[order]
        return {"kinds": _kinds(anchors[order], np.ones(len(order), np.int64), half, half)}


@dataclass(frozen=True)
class AddKinds:
    """The kinds of each anchor that occurs more than once."""

    output: pa.Schema = KINDS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `KINDS` by anchor."""
        found = _kinds(*(column(groups, name).to_numpy() for name in KINDS.names))
        return found.filter(compute.greater(found.column("rows"), 1))


CONTEXTS = pa.schema([*list(ANCHORS)[:-1], pa.field("several", pa.bool_())])
"""An anchor that occurs more than once, and whether it has several contexts."""


@dataclass(frozen=True)
class Several:
    """The anchors that occur more than once."""

    needs: ClassVar[Needs] = Needs((*CONTEXTS.names, *KINDS.names), valid="rows")
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"contexts": CONTEXTS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """Reads `ANCHORS` joined with `KINDS`."""
        batch = batch.filter(compute.is_valid(batch.column("rows")))
        several = compute.not_equal(batch.column("least"), batch.column("greatest"))
        return {"contexts": batch.append_column("several", several).select(CONTEXTS.names)}


@dataclass(frozen=True)
class Settle:
    """Which contexts are repeated, and in which ones windows [start, stop) must be looked at one by one."""

    min_tokens: int
    earlier: Earlier
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"cuts": REPEATS, "asked": CUTS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table | pa.RecordBatch]:
        """Reads `CONTEXTS` with the first row of each key."""
        repeated = _repeated(batch, self.min_tokens)
        closer = batch.filter(compute.and_not(batch.column("several"), repeated))
        stop = compute.add(closer.column("place"), closer.column("windows"))
        asked = table({"row": closer.column("row"), "start": closer.column("place"), "stop": stop}, CUTS)
        return {"cuts": _cuts(batch, repeated, self.earlier), "asked": asked}


@dataclass(frozen=True)
class Passages:
    """The texts."""

    needs: ClassVar[Needs] = Needs(("row", "text"))
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"passages": PASSAGES})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `row` and `text`."""
        return {"passages": table({"row": batch.column("row"), "text": batch.column("text")}, PASSAGES)}


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
        columns = {"key": packed(hashes), "row": take(column(batch, "row"), owners),
                   "place": pa.array(np.concatenate([np.empty(0, np.int64), *wanted])),
                   "start": pa.array(spans[:, 0]), "stop": pa.array(spans[:, 1])}  # fmt: skip
        return {"windows": table(columns, WINDOWS)}


@dataclass(frozen=True)
class Again:
    """The windows that are repeated."""

    min_tokens: int
    earlier: Earlier
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"cuts": REPEATS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """Reads `WINDOWS` with the first row of each key."""
        return {"cuts": _cuts(batch, _repeated(batch, self.min_tokens), self.earlier)}


def _repeated(batch: pa.RecordBatch, min_tokens: int) -> Any:
    """Which rows stand in a later text than the first of their key, or begin after its first window has ended."""
    elsewhere = compute.not_equal(column(batch, "row"), column(batch, "first_row"))
    after = compute.subtract(column(batch, "place"), column(batch, "first_place"))
    return compute.fill_null(compute.or_(elsewhere, compute.greater_equal(after, min_tokens)), False)


def _cuts(batch: pa.RecordBatch, repeated: Any, earlier: Earlier) -> pa.RecordBatch:
    """`REPEATS` of the pipeline's own rows that are repeated."""
    batch = batch.filter(compute.and_(repeated, earlier.own(batch.column("row"))))
    return batch.append_column("kept", earlier.kept(batch.column("first_row"))).select(REPEATS.names)


def _kinds(anchors: I64, rows: I64, least: I64, greatest: I64) -> pa.Table:
    """`KINDS` of each anchor, of sorted ones."""
    starts = np.flatnonzero(differs(anchors))
    if not len(starts):
        return KINDS.empty_table()
    columns = (anchors[starts], np.add.reduceat(rows, starts), np.minimum.reduceat(least, starts),
               np.maximum.reduceat(greatest, starts))  # fmt: skip
    return table(dict(zip(KINDS.names, columns, strict=True)), KINDS)


def _numbers(ranges: bytes) -> I64:
    """The numbers in ranges [start, stop)."""
    pairs = np.frombuffer(ranges, "<i8").reshape(-1, 2)
    return np.concatenate([np.arange(start, stop) for start, stop in pairs])
