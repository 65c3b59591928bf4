"""What a pipeline asked for, before any of it is run: rows as a graph of steps.

Beam's pipelines are built whole and then run. The driver of Headwater's asks for results on the way (`collect`), so
steps are noted here first, and the part that a result needs becomes a Beam pipeline when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from headwater.data.engine import BatchFunction, GroupFunction
from headwater.data.engines.units import StageFolder


@dataclass(frozen=True, eq=False)
class Node:
    """Rows of one schema. Nodes are compared by identity."""

    schema: pa.Schema


@dataclass(frozen=True, eq=False)
class Read(Node):
    """Rows from readers, one unit of work each.

    Attributes:
        name: For people.
        path: The file of `StoredReaders`.
        count: Number of readers.
    """

    name: str
    path: str
    count: int


@dataclass(frozen=True, eq=False)
class Step:
    """A step whose outputs are kept in files.

    Attributes:
        name: Unique in the pipeline.
        folder: Where its files go.
        outputs: The schema of each output.
    """

    name: str
    folder: StageFolder
    outputs: Mapping[str, pa.Schema]


@dataclass(frozen=True, eq=False)
class MapStep(Step):
    """A function over every batch, a file for each unit of its input."""

    data: Node
    function: BatchFunction


@dataclass(frozen=True, eq=False)
class GroupStep(Step):
    """A function over whole groups, a file for each partition."""

    data: Node
    keys: tuple[str, ...]
    order: tuple[str, ...]
    function: GroupFunction
    partitions: int


@dataclass(frozen=True, eq=False)
class Output(Node):
    """One output of a step."""

    step: MapStep | GroupStep
    name: str


@dataclass(frozen=True, eq=False)
class Derived(Node):
    """A cheap function with one output, applied where its rows are used."""

    data: Node
    function: BatchFunction


@dataclass(frozen=True, eq=False)
class Union(Node):
    """All rows of several nodes."""

    data: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Join(Node):
    """`left` with the columns of `right`; see `Engine.join`."""

    name: str
    left: Node
    right: Node
    left_on: str
    right_on: str
    prefix: str
    partitions: int
