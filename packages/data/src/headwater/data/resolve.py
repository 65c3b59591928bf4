"""Who stays of documents that verified edges tie, on any engine: in order of preference, a document goes if an edge
ties it to one that stays.

A cluster that fits one task is walked in that order. One that does not is decided in rounds, with the same result
(Blelloch, Fineman and Shun, "Greedy Sequential Maximal Independent Set and Matching are Parallel on Average", SPAA
2012): whom no edge ties to a preferred document stays; whom an edge ties to one of those goes; both leave, until what
is left fits one task. Ids are hashes, so there are few rounds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from headwater.data.arrow import compute, table, take, values
from headwater.data.earlier import Earlier
from headwater.data.engine import Dataset, Engine, Needs
from headwater.data.firsts import ROWS, firsts
from headwater.data.graph import ONE_TASK_EDGES, OneKey, connected_components, totals
from headwater.data.operators.exact_dedup import DECISIONS
from headwater.data.row_keys import id_of
from headwater.data.shuffle import I64

EDGES = pa.schema([pa.field("a", pa.binary()), pa.field("b", pa.binary()), pa.field("jaccard", pa.float64())])
"""`a` is preferred to `b`: its key is less."""
MEMBERS = pa.schema([*EDGES, pa.field("component", pa.binary())])
_COMPONENT = pa.schema([MEMBERS.field("component")])
_LATER = pa.schema([MEMBERS.field("b")])
_BY_LATER = pa.schema([MEMBERS.field(name) for name in ("b", "a", "jaccard", "component")])
_MOST_ROUNDS = 1_000


def resolve(
    engine: Engine, stage: str, edges: Dataset, decide: Decide, *, one_task_edges: int = ONE_TASK_EDGES
) -> Dataset:
    """Decides which rows go.

    Args:
        engine: Where to run.
        stage: Prefix of the steps' names.
        edges: Rows of `EDGES`, each once.
        decide: What the verdicts say.
        one_task_edges: Edges that one task holds.

    Returns:
        Rows of `DECISIONS`. A verdict names the most preferred document that stays and that an edge ties it to.
    """
    components = connected_components(engine, f"{stage}-clusters", edges, one_task_edges=one_task_edges)
    members = engine.join(edges, components, left_on="a", right_on="node")
    large = firsts(engine, f"{stage}-large-clusters", members, _COMPONENT, more_than=one_task_edges)
    if not engine.collect(large).num_rows:
        return engine.group_by_key(f"{stage}-resolve", members, ["component"], ["b", "a"], Walk(decide))
    marked = engine.join(members, large, left_on="component", right_on="component", prefix="large_")
    small = engine.derive(marked, Without("large_rows"))
    walked = engine.group_by_key(f"{stage}-resolve", small, ["component"], ["b", "a"], Walk(decide))
    named = _in_rounds(engine, stage, engine.derive(marked, With("large_rows")), one_task_edges)
    return engine.union([walked, engine.map_batches(f"{stage}-decide", named, decide)["decisions"]])


def _in_rounds(engine: Engine, stage: str, edges: Dataset, one_task_edges: int) -> Dataset:
    """For each row that goes, the edge to the first of the rows that stay (`_BY_LATER`)."""
    left, gone = edges, list[Dataset]()
    for number in range(_MOST_ROUNDS):
        this = f"{stage}-round-{number}"
        later = firsts(engine, f"{this}-later", left, _LATER)
        free = engine.derive(
            engine.join(left, later, left_on="a", right_on="b", prefix="later_"), Without("later_rows")
        )
        gone.append(firsts(engine, f"{this}-gone", free, _LATER))
        for end in ("a", "b"):
            met = engine.join(left, gone[-1], left_on=end, right_on="b", prefix="gone_")
            left = engine.map_batches(f"{this}-left-{end}", met, Without("gone_rows"))["rows"]
        count, _ = totals(engine, f"{this}-totals", left)
        if count <= one_task_edges:
            keyed = engine.derive(left, OneKey())
            gone.append(engine.group_by_key(f"{this}-walk", keyed, ["key"], ["b", "a"], Gone()))
            break
    else:
        raise RuntimeError(f"a cluster was not decided in {_MOST_ROUNDS} rounds")
    met = engine.join(edges, engine.union(gone), left_on="a", right_on="b", prefix="gone_")
    return firsts(engine, f"{stage}-named", engine.derive(met, Without("gone_rows")), _BY_LATER)


def walk(groups: pa.Table) -> I64:
    """The places of the edges by which rows go; edges are ordered by `b`, then `a`."""
    gone, places = set[bytes](), list[int]()
    for place, (later, earlier) in enumerate(zip(values(groups, "b"), values(groups, "a"), strict=True)):
        # Edges come by their later end, so what became of the earlier one is settled already.
        if later not in gone and earlier not in gone:
            gone.add(later)
            places.append(place)
    return np.array(places, np.int64)


@dataclass(frozen=True)
class Walk:
    """Who goes, and for whom, in each cluster."""

    decide: Decide
    output: pa.Schema = DECISIONS

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads `MEMBERS`, whole components ordered by `b`, then `a`."""
        return self.decide(take(groups, walk(groups)))["decisions"]


@dataclass(frozen=True)
class Gone:
    """Who goes."""

    output: pa.Schema = field(default_factory=lambda: pa.schema([*_LATER, ROWS]))

    def __call__(self, groups: pa.Table) -> pa.Table:
        """Reads edges ordered by `b`, then `a`."""
        gone = take(groups.column("b"), walk(groups))
        return table({"b": gone, ROWS.name: np.ones(len(gone), np.int64)}, self.output)


@dataclass(frozen=True)
class Decide:
    """The decisions about rows, each with the edge to a row that stays.

    Attributes:
        name: The step.
        reason: Of the rejections.
        earlier: Indexes whose documents are among the ends.
    """

    name: str
    reason: str
    earlier: Earlier
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"decisions": DECISIONS})

    def __call__(self, batch: pa.RecordBatch | pa.Table) -> Mapping[str, pa.Table]:
        """Reads `MEMBERS`."""
        columns = (values(batch, name) for name in ("a", "jaccard", "component"))
        details = [json.dumps(self._detail(*found)) for found in zip(*columns, strict=True)]
        names = {"operator": self.name, "reason": self.reason}
        same = {name: [value] * len(details) for name, value in names.items()}
        return {"decisions": table({"row": batch.column("b"), **same, "detail": details}, DECISIONS)}

    def _detail(self, kept: bytes, similarity: float, component: bytes) -> dict[str, str | float]:
        found = {"kept": id_of(kept), "jaccard": round(similarity, 4), "cluster": id_of(component)}
        return {**found, **self.earlier.origin(kept)}


@dataclass(frozen=True)
class With:
    """The edges where a column is not null."""

    name: str
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"rows": MEMBERS})

    @property
    def needs(self) -> Needs:
        """The rest is left away."""
        return Needs((*MEMBERS.names, self.name), valid=self.name)

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """Reads `MEMBERS` and the column."""
        return {"rows": batch.filter(compute.is_valid(batch.column(self.name))).select(MEMBERS.names)}


@dataclass(frozen=True)
class Without:
    """The edges where a column is null."""

    name: str
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"rows": MEMBERS})

    @property
    def needs(self) -> Needs:
        """The rest is left away."""
        return Needs((*MEMBERS.names, self.name), null=self.name)

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.RecordBatch]:
        """Reads `MEMBERS` and the column."""
        return {"rows": batch.filter(compute.is_null(batch.column(self.name))).select(MEMBERS.names)}
