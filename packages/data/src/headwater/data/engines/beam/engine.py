"""The Beam engine: pipelines in phases, on any Beam runner, with files on a folder that all workers share.

A phase is one Beam pipeline, which runs when the driver needs its result (`collect`), and for a function over what was
read: those units are the expensive ones. In a phase every output of `map_batches` and `group_by_key` is written, unit
by unit, to Arrow files that appear whole, and later phases read these. So a job that was killed goes on: finished steps
are not run again, and of a step that was under way only the units without a mark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from headwater.core.storage import storage_errors
from headwater.data.engine import BatchFunction, GroupFunction, Reader
from headwater.data.engines.beam import coder
from headwater.data.engines.beam.nodes import Derived, GroupStep, Join, MapStep, Node, Output, Read, Step, Union
from headwater.data.engines.beam.options import BeamConfig
from headwater.data.engines.beam.run import Runner, counted
from headwater.data.engines.beam.translate import Translation
from headwater.data.engines.beam.work import ROWS, Same
from headwater.data.engines.failures import Failures
from headwater.data.engines.units import StageFolder, StoredReaders, read_unit

_MOST_PARTITIONS = 1_000


class BeamEngine:
    """Runs pipelines on Beam. A context manager, like the other engines; there is nothing to end.

    Args:
        folder: Work folder, on storage that all workers share under the same path; what it holds is reused, so it
            belongs to one pipeline and one configuration.
        config: Runner and options.
        workers: Processes, for a runner on this machine whose options do not say.

    Raises:
        ConfigError: There is no such runner or option.
    """

    def __init__(self, folder: Path, config: BeamConfig | None = None, workers: int = 1) -> None:
        coder.register()
        self.config = config or BeamConfig()
        # Units are named by their partition, so what another number of partitions left is of no use.
        self.folder = folder.absolute() / f"partitions-{self.config.shuffle_partitions}"
        with storage_errors("create", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self.runner = Runner(self.config, workers, self.folder)
        self._failures = Failures(str(self.folder / "failures"))
        self._finished: dict[Step, Mapping[str, Sequence[str]]] = {}
        self._names: set[str] = set()
        self._reads: list[Read] = []
        self._joins: dict[tuple[object, ...], Join] = {}
        self._collected = 0

    def __enter__(self) -> BeamEngine:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def read(self, readers: Sequence[Reader], schema: pa.Schema) -> Read:
        """One unit a reader."""
        name = self._name(f"read-{len(self._reads) + 1}")
        path = self.folder / f"{name}.arrow"
        StoredReaders.store(path, readers)
        self._reads.append(Read(schema, name, str(path), len(readers)))
        return self._reads[-1]

    def map_batches(self, stage: str, data: Node, function: BatchFunction) -> Mapping[str, Output]:
        """At once for what was read; else in the phase that needs it."""
        step = MapStep(self._name(stage), self._stage(stage), function.outputs, data, function)
        self._resume(step)
        if isinstance(data, Read):
            self._run(step)
        return {name: Output(schema, step, name) for name, schema in function.outputs.items()}

    def derive(self, data: Node, function: BatchFunction) -> Derived:
        """Lazy."""
        ((_, schema),) = function.outputs.items()
        return Derived(schema, data, function)

    def union(self, data: Sequence[Node]) -> Node:
        """Lazy."""
        return data[0] if len(data) == 1 else Union(data[0].schema, tuple(data))

    def join(self, left: Node, right: Node, *, left_on: str, right_on: str, prefix: str = "") -> Join:
        """Lazy; both sides are cut by the hash of their key and meet in partitions."""
        key = (left, right, left_on, right_on, prefix)
        if key not in self._joins:
            added = [pa.field(prefix + each.name, each.type) for each in right.schema if each.name != right_on]
            name = self._name(f"join-{len(self._joins) + 1}")
            schema = pa.schema([*left.schema, *added])
            self._joins[key] = Join(schema, name, left, right, left_on, right_on, prefix, self._partitions())
        return self._joins[key]

    def group_by_key(
        self, stage: str, data: Node, keys: Sequence[str], order: Sequence[str], function: GroupFunction
    ) -> Output:
        """In the phase that needs it."""
        outputs = {ROWS: function.output}
        step = GroupStep(self._name(stage), self._stage(stage), outputs, data, tuple(keys), tuple(order), function,
                         self._partitions())  # fmt: skip
        self._resume(step)
        return Output(function.output, step, ROWS)

    def collect(self, data: Node) -> pa.Table:
        """Runs what is not finished, and reads the result's files."""
        if not isinstance(data, Output):
            self._collected += 1
            same = Same({ROWS: data.schema})
            data = self.map_batches(f"collect-{self._collected}", data, same)[ROWS]
        self._run(data.step)
        units = self._finished[data.step][data.name]
        batches = [batch for unit in units for batch in read_unit(data.step.folder, data.name, unit)]
        return pa.Table.from_batches(batches, schema=data.schema)

    def _run(self, step: Step) -> None:
        """One phase: the step, and what it needs that is not finished."""
        if step in self._finished:
            return
        pipeline = self.runner.pipeline()
        translation = Translation(pipeline, self._failures, self._finished)
        translation.add(step)
        steps = translation.expected
        if not translation.is_empty:
            names = [each.name for each in steps]
            label = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
            self.runner.run(pipeline, label, sum(steps.values()), lambda: counted(steps), self._failures)
        for each in steps:
            self._finished[each] = each.folder.close(each.outputs)

    def _resume(self, step: Step) -> None:
        found = step.folder.closed()
        if found is not None:
            self._finished[step] = found

    def _partitions(self) -> int:
        units = max((read.count for read in self._reads), default=1)
        return self.config.shuffle_partitions or min(max(units, 1), _MOST_PARTITIONS)

    def _stage(self, stage: str) -> StageFolder:
        return StageFolder(str(self.folder / stage))

    def _name(self, name: str) -> str:
        if name in self._names:
            raise ValueError(f"two steps are called {name}")
        self._names.add(name)
        return name
