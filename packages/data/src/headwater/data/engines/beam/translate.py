"""A part of the graph as one Beam pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa

from headwater.data.engine import BatchFunction
from headwater.data.engines.beam.nodes import Derived, GroupStep, Join, MapStep, Node, Output, Read, Step, Union
from headwater.data.engines.beam.work import (
    LEFT,
    RIGHT,
    ROWS,
    FileUnits,
    GroupUnit,
    JoinUnits,
    MapUnit,
    ReaderUnits,
    Source,
    SplitUnit,
    Unit,
    unit_name,
)
from headwater.data.engines.failures import Failures
from headwater.data.engines.units import StoredReaders

Piece = tuple[int, pa.RecordBatch]
SidedPiece = tuple[int, tuple[int, pa.RecordBatch]]


@dataclass(frozen=True)
class Branch:
    """One of the inputs that a node's rows come from.

    Attributes:
        units: A Beam collection of elements.
        unit: What makes rows of an element.
    """

    units: Any
    unit: Unit

    def then(self, function: BatchFunction) -> Branch:
        """The branch with another cheap function."""
        return replace(self, unit=replace(self.unit, functions=(*self.unit.functions, function)))


class Translation:
    """Adds the steps that a result needs, and that are not finished, to a Beam pipeline.

    Collections hold names of units, and numbered pieces of rows on their way through a shuffle. What lies between two
    shuffles is one function here, so that a unit's outputs are written whole or not at all.

    Args:
        pipeline: The Beam pipeline.
        failures: Where workers note errors.
        finished: For each step that is finished, the units of each output with rows.
    """

    def __init__(
        self, pipeline: beam.Pipeline, failures: Failures, finished: Mapping[Step, Mapping[str, Sequence[str]]]
    ) -> None:
        self._pipeline, self._failures, self._finished = pipeline, failures, finished
        self._branches: dict[Node, list[Branch]] = {}
        self._outputs: dict[Step, Mapping[str, Any]] = {}
        self.expected: dict[Step, int] = {}
        """The steps that the pipeline runs, in order, each with its number of units, about."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to run."""
        return not self._pipeline.transforms_stack[0].parts

    def add(self, step: Step) -> None:
        """Adds a step, with what it needs."""
        if step in self._outputs or step in self._finished:
            return
        if isinstance(step, GroupStep):
            self._add_group(step)
        else:
            assert isinstance(step, MapStep)
            self._add_map(step)

    def _add_map(self, step: MapStep) -> None:
        found: dict[str, list[Any]] = {name: [] for name in step.outputs}
        # A step over what was read is a pipeline of its own: nobody waits here for what is finished already.
        done = set(step.folder.marked()) if isinstance(step.data, Read) else set[str]()
        branches = [self._read(step.data, done)] if isinstance(step.data, Read) else self._inputs(step.data)
        self.expected[step] = sum(self._count(node) for node in _sources(step.data))
        step.folder.create()
        for number, branch in enumerate(b for b in branches if b is not None):
            work = MapUnit(step.name, self._failures, branch.unit, step.function, step.folder, number)
            tagged = branch.units | f"{step.name}/map {number}" >> beam.ParDo(work).with_outputs(*step.outputs)
            for name in step.outputs:
                found[name].append(
                    tagged[name] | f"{step.name}/{name} {number}" >> beam.Map(_same).with_output_types(str)
                )
        self._outputs[step] = {name: self._flat(f"{step.name}/{name}", each) for name, each in found.items()}

    def _add_group(self, step: GroupStep) -> None:
        pieces = [
            branch.units
            | f"{step.name}/split {number}"
            >> beam.ParDo(
                SplitUnit(step.name, self._failures, branch.unit, step.keys, step.partitions)
            ).with_output_types(Piece)
            for number, branch in enumerate(self._inputs(step.data))
        ]
        self.expected[step] = step.partitions if pieces else 0
        step.folder.create()
        work = GroupUnit(step.name, self._failures, step.data.schema, step.keys, step.order, step.function, step.folder)
        flat = self._flat(f"{step.name}/pieces", pieces)
        self._outputs[step] = {ROWS: None} if flat is None else {
            ROWS: flat
            | f"{step.name}/shuffle" >> beam.GroupByKey()
            | f"{step.name}/groups" >> beam.ParDo(work).with_output_types(str)
        }  # fmt: skip

    def _inputs(self, node: Node) -> list[Branch]:
        if node not in self._branches:
            self._branches[node] = self._translate(node)
        return self._branches[node]

    def _translate(self, node: Node) -> list[Branch]:
        match node:
            case Derived():
                return [branch.then(node.function) for branch in self._inputs(node.data)]
            case Union():
                return [branch for each in node.data for branch in self._inputs(each)]
            case Read():
                return [branch for branch in [self._read(node, set())] if branch]
            case Join():
                return self._join(node)
            case Output():
                return self._output(node)
            case _:
                raise TypeError(f"not a node of a pipeline: {node}")

    def _output(self, node: Output) -> list[Branch]:
        source = FileUnits(node.step.folder, node.name)
        if node.step in self._finished:
            units = self._finished[node.step][node.name]
            return [self._units(f"{node.step.name}/{node.name} files", units, source)] if units else []
        self.add(node.step)
        names = self._outputs[node.step][node.name]
        return [] if names is None else [Branch(names, Unit(source))]

    def _read(self, node: Read, done: set[str]) -> Branch | None:
        names = [f"{number:07d}" for number in range(node.count)]
        left = [name for name in names if unit_name(0, name) not in done]
        return self._units(node.name, left, ReaderUnits(StoredReaders(node.path))) if left else None

    def _units(self, label: str, names: Sequence[str], source: Source) -> Branch:
        # The names are small; what each stands for is not, so they are spread over the workers first.
        units = (
            self._pipeline
            | f"{label}/names" >> beam.Create(list(names)).with_output_types(str)
            | f"{label}/spread" >> beam.Reshuffle()
        )
        return Branch(units, Unit(source))

    def _join(self, node: Join) -> list[Branch]:
        # Beam's own CoGroupByKey, but with types: its tagged values would be pickled, and all be held in memory.
        left, right = self._inputs(node.left), self._inputs(node.right)
        if not left:
            return []
        sided = [
            branch.units
            | f"{node.name}/{side} {number}"
            >> beam.ParDo(
                SplitUnit(node.name, self._failures, branch.unit, [key], node.partitions, tag)
            ).with_output_types(SidedPiece)
            for side, tag, key, branches in (("left", LEFT, node.left_on, left), ("right", RIGHT, node.right_on, right))
            for number, branch in enumerate(branches)
        ]
        grouped = self._flat(f"{node.name}/pieces", sided) | f"{node.name}/shuffle" >> beam.GroupByKey()
        return [Branch(grouped, Unit(JoinUnits(node.right.schema, node.left_on, node.right_on, node.prefix)))]

    def _flat(self, label: str, collections: Sequence[Any]) -> Any:
        if not collections:
            return None
        return collections[0] if len(collections) == 1 else tuple(collections) | label >> beam.Flatten()

    def _count(self, node: Node) -> int:
        """The number of units of a node that is no derivation, about: what progress is measured against."""
        if isinstance(node, Read):
            return node.count
        if isinstance(node, Join):
            return node.partitions
        assert isinstance(node, Output)
        if node.step in self._finished:
            return len(self._finished[node.step][node.name])
        return self.expected.get(node.step, 0)


def _sources(node: Node) -> list[Node]:
    """The nodes that a node's units are made of."""
    if isinstance(node, Derived):
        return _sources(node.data)
    if isinstance(node, Union):
        return [source for each in node.data for source in _sources(each)]
    return [node]


def _same(name: str) -> str:
    return name
