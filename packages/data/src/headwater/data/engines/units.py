"""What a step leaves in a folder that all workers share: a file for each unit of work and output, then a mark.

A unit may run twice (a lost worker, speculation, a job that was killed): both attempts write the same rows under names
of their own, and each rename is whole. A unit with a mark is finished, and is not run again by the same job.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from headwater.core.storage import atomic_write, storage_errors
from headwater.data.engine import BatchFunction, Reader
from headwater.data.engines.arrow_files import ArrowPart, PartWriter

Rows = pa.Table | pa.RecordBatch
_LISTING, _MARK = "finished.json", ".done"


@dataclass(frozen=True)
class StageFolder:
    """The folder of one step. Picklable: workers get it with their task.

    Attributes:
        path: An absolute path.
    """

    path: str

    def create(self) -> None:
        """Makes the folder. For the driver, before any worker writes.

        Raises:
            StorageError: The disk refused.
        """
        with storage_errors("create", self.path):
            Path(self.path).mkdir(parents=True, exist_ok=True)

    def write(self, unit: str, outputs: Mapping[str, pa.Schema], rows: Iterable[tuple[str, Rows]]) -> Mapping[str, int]:
        """Writes a unit's outputs and marks it as finished.

        Args:
            unit: Its name, which is the same in every attempt.
            outputs: The schema of each output.
            rows: Pieces of outputs, in any order.

        Returns:
            The number of rows of each output; one without rows has no file.

        Raises:
            StorageError: The disk refused.
        """
        counts = dict.fromkeys(outputs, 0)
        writers: dict[str, PartWriter] = {}
        try:
            for name, piece in rows:
                if not piece.num_rows:
                    continue
                if name not in writers:
                    writers[name] = PartWriter(self.file(name, unit), outputs[name])
                writers[name].write(piece)
                counts[name] += piece.num_rows
            for writer in writers.values():
                writer.finish()
        finally:
            for writer in writers.values():
                writer.abandon()
        atomic_write(self._mark(unit), json.dumps(counts))
        return counts

    def finished(self, unit: str) -> Mapping[str, int] | None:
        """The number of rows of each output of a finished unit; None for one that is not finished."""
        try:
            return json.loads(self._mark(unit).read_bytes())
        except FileNotFoundError:
            return None

    def file(self, output: str, unit: str) -> Path:
        """Where an output of a unit lies."""
        return Path(self.path) / f"{output}-{unit}.arrow"

    def marked(self) -> list[str]:
        """The units that are finished, in order."""
        with storage_errors("list", self.path):
            if not Path(self.path).is_dir():
                return []
            with os.scandir(self.path) as entries:
                return sorted(entry.name.removesuffix(_MARK) for entry in entries if entry.name.endswith(_MARK))

    def close(self, outputs: Iterable[str]) -> Mapping[str, Sequence[str]]:
        """Says that the whole step is finished. For the driver.

        Returns:
            For each output, the units that have rows.
        """
        units = {unit: self.finished(unit) or {} for unit in self.marked()}
        listing = {name: [unit for unit, counts in units.items() if counts.get(name)] for name in outputs}
        self.create()
        atomic_write(Path(self.path) / _LISTING, json.dumps(listing))
        return listing

    def closed(self) -> Mapping[str, Sequence[str]] | None:
        """What `close` returned, if the step was finished, here or by a job that was killed later."""
        try:
            return json.loads((Path(self.path) / _LISTING).read_bytes())
        except FileNotFoundError:
            return None

    def _mark(self, unit: str) -> Path:
        return Path(self.path) / f"{unit}{_MARK}"


@dataclass(frozen=True)
class StoredReaders:
    """Readers in a file, so that tasks carry only a number: offsets of a large crawl take megabytes.

    Attributes:
        path: An Arrow file that the driver wrote, one pickled reader a row. Like the tasks themselves it comes from
            the driver, and lies where only the job writes.
    """

    path: str

    @classmethod
    def store(cls, path: Path, readers: Sequence[Reader]) -> StoredReaders:
        """Writes the file.

        Raises:
            StorageError: The disk refused.
        """
        schema = pa.schema([pa.field("reader", pa.large_binary())])
        writer = PartWriter(path, schema)
        try:
            for reader in readers:
                cell: pa.Array = pa.array([pickle.dumps(reader)], pa.large_binary())
                writer.write_batch(pa.Table.from_arrays([cell], schema=schema))
            writer.finish()
        finally:
            writer.abandon()
        return cls(str(path))

    def load(self, number: int) -> Reader:
        """One of the readers."""
        with (
            storage_errors("read", self.path),
            pa.memory_map(self.path) as source,
            pa.ipc.open_file(source) as reader,
        ):
            return pickle.loads(reader.get_batch(number).column(0)[0].as_py())  # noqa: S301 — see `path`


def read_unit(folder: StageFolder, output: str, unit: str) -> Iterator[pa.RecordBatch]:
    """The batches of a finished unit's output."""
    return ArrowPart(str(folder.file(output, unit)))()


def outputs_of(function: BatchFunction, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, pa.Table]]:
    """Applies a function to every batch: (output, rows), in the types that the function promises."""
    for batch in batches:
        for name, rows in function(batch).items():
            schema = function.outputs[name]
            whole = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
            yield name, whole.select(schema.names).cast(schema)
