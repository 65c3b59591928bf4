"""The metrics of a run's log as columns of numbers, read as it grows."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pj
from numpy.typing import NDArray

from headwater.core import metrics as m

from .tail import Tail

F64 = NDArray[np.float64]

_SMALL = 1 << 16  # bytes that are parsed faster one by one
#: What `losses.jsonl`, which stands in where there is no `metrics.jsonl`, calls the metrics.
_LOSSES = {
    "loss": m.TRAIN_LOSS.name, "grad_norm": m.TRAIN_GRAD_NORM.name, "learning_rate": m.TRAIN_LEARNING_RATE.name,
    "tokens": m.TRAIN_TOKENS.name,
}  # fmt: skip


class Column:
    """Numbers that grow at the end.

    Args:
        kind: NumPy's type of a number.
    """

    def __init__(self, kind: Any) -> None:
        self._space, self._length = np.empty(1024, kind), 0

    def __len__(self) -> int:
        return self._length

    def extend(self, values: Any) -> None:
        """Appends numbers."""
        stop = self._length + len(values)
        if stop > len(self._space):
            grown = np.empty(max(stop, len(self._space) * 3 // 2), self._space.dtype)
            grown[: self._length] = self._space[: self._length]
            self._space = grown
        self._space[self._length : stop] = values
        self._length = stop

    def cut(self, length: int) -> None:
        """Drops all but the first numbers."""
        self._length = min(self._length, length)

    @property
    def values(self) -> NDArray[Any]:
        """A view of them, which is of no use after the next change."""
        return self._space[: self._length]


class MetricLog:
    """`metrics.jsonl` of a training, or `losses.jsonl` where there is none.

    A series costs 12 bytes a point, a row 16.

    Args:
        folder: The training's folder; it need not exist.

    Attributes:
        damaged: Lines that are not JSON objects.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open("metrics.jsonl")

    def _open(self, name: str) -> None:
        self._name, self._tail = name, Tail(self._folder / name)
        self._steps, self._times = Column(np.int64), Column(np.float64)
        self._series: dict[str, tuple[Column, Column]] = {}
        self._rows_at: dict[int, tuple[int, int]] = {0: (0, 0)}
        self.damaged = 0

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def size(self) -> int:
        """Bytes of the file that were read."""
        return self._tail.place

    @property
    def names(self) -> list[str]:
        """The series that there are."""
        return [name for name, (rows, _) in self._series.items() if len(rows)]

    def read(self) -> int:
        """Reads a piece more; returns how many bytes are left after it.

        Raises:
            OSError: The file cannot be read.
        """
        name = "metrics.jsonl"
        if not (self._folder / name).is_file() and (self._folder / "losses.jsonl").is_file():
            name = "losses.jsonl"
        if name != self._name:
            self._open(name)
        piece = self._tail.read()
        rows, damaged = self._rows_at.get(piece.start, (0, 0))
        if rows < len(self) or damaged < self.damaged:
            self._cut(rows)
            self.damaged = damaged
        if piece.content:
            self._parse(piece.content)
        places = set(self._tail.places())
        self._rows_at[self._tail.place] = (len(self), self.damaged)
        self._rows_at = {place: rows for place, rows in self._rows_at.items() if place in places}
        return piece.left

    def points(self, name: str, first: float = -math.inf, last: float = math.inf) -> tuple[NDArray[np.int64], F64]:
        """Steps and values of a series, from one step to another; of no use after the next change."""
        if name not in self._series:
            return np.empty(0, np.int64), np.empty(0)
        rows, values = (column.values for column in self._series[name])
        steps = self._steps.values[rows]
        if first == -math.inf and last == math.inf:
            return steps, values
        inside = (steps >= first) & (steps <= last)
        return steps[inside], values[inside]

    def timed(self, name: str) -> tuple[F64, F64]:
        """Unix times and values of a series; of no use after the next change."""
        if name not in self._series:
            return np.empty(0), np.empty(0)
        rows, values = (column.values for column in self._series[name])
        return self._times.values[rows], values

    def latest(self, name: str) -> float | None:
        """The last value of a series."""
        values = self.tail(name, 1)
        return float(values[0]) if len(values) else None

    def tail(self, name: str, count: int) -> F64:
        """The last values of a series."""
        return self._series[name][1].values[-count:].copy() if name in self._series else np.empty(0)

    @property
    def last_step(self) -> int | None:
        """The highest step of the last rows."""
        return int(self._steps.values[-8:].max()) if len(self) else None

    @property
    def last_time(self) -> float | None:
        """Unix time of the last row; none where rows have no times."""
        value = float(self._times.values[-1]) if len(self) else math.nan
        return value if math.isfinite(value) else None

    def _cut(self, rows: int) -> None:
        self._steps.cut(rows)
        self._times.cut(rows)
        for where, values in self._series.values():
            length = int(np.searchsorted(where.values, rows))
            where.cut(length)
            values.cut(length)

    def _parse(self, content: bytes) -> None:
        if len(content) > _SMALL:
            with contextlib.suppress(pa.ArrowInvalid):  # a number written as text, or a damaged line
                return self._add_table(_table(content))
        self._add_rows(self._objects(content.splitlines()))

    def _add_table(self, table: pa.Table) -> None:
        start = len(self)
        for name in table.column_names:
            place = self._place(name)
            column = table[name].combine_chunks()
            if place is not None and not pa.types.is_null(column.type):
                there = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
                self._add(place, start + there, column.drop_null().to_numpy(zero_copy_only=False))
        self._steps.extend(table["step"].to_numpy())
        has_times = "time_seconds" in table.column_names
        self._times.extend(table["time_seconds"].to_numpy() if has_times else np.full(table.num_rows, np.nan))

    def _add_rows(self, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            at = [len(self)]
            for name, value in row.items():
                place = self._place(name)
                if place is None or isinstance(value, bool):
                    continue
                with contextlib.suppress(TypeError, ValueError):
                    self._add(place, at, [float(value)])
            time = row.get("time_seconds")
            self._steps.extend([row["step"]])
            self._times.extend([time if isinstance(time, int | float) else math.nan])

    def _place(self, name: str) -> str | None:
        """The series that a field of a row is of, if it is of any."""
        place = _LOSSES.get(name) if self._name == "losses.jsonl" else name
        return place if place is not None and place.startswith("headwater_") else None

    def _add(self, name: str, rows: Any, values: Any) -> None:
        if name not in self._series:
            self._series[name] = Column(np.uint32), Column(np.float64)
        where, numbers = self._series[name]
        where.extend(rows)
        numbers.extend(values)

    def _objects(self, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        for line in lines:
            try:
                row: Any = json.loads(line)
            except ValueError:
                row = None
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                yield row
            elif line.strip():
                self.damaged += 1


def _table(content: bytes) -> pa.Table:
    """The rows as a table of numbers.

    Raises:
        pa.ArrowInvalid: They have something else, or no steps.
    """
    table = pj.read_json(io.BytesIO(content), read_options=pj.ReadOptions(block_size=len(content) + 1))
    if "step" not in table.column_names or table["step"].null_count or not pa.types.is_integer(table["step"].type):
        raise pa.ArrowInvalid("a row has no step")
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)
        if not number and (name.startswith("headwater_") or name in _LOSSES or name == "time_seconds"):
            raise pa.ArrowInvalid(f"{name} has something that is no number")
    return table


class EventLines:
    """`events.jsonl` of a training, read as it grows.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path)
        self._rows: list[dict[str, Any]] = []
        self._rows_at: dict[int, int] = {0: 0}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The events, oldest first."""
        return self._rows

    def read(self) -> int:
        """Reads a piece more; returns how many bytes are left after it.

        Raises:
            OSError: The file cannot be read.
        """
        piece = self._tail.read()
        kept = self._rows_at.get(piece.start, 0)
        if kept < len(self._rows) or piece.content:
            fresh = [row for line in piece.content.splitlines() if (row := _event(line)) is not None]
            self._rows = [*self._rows[:kept], *fresh]
        places = set(self._tail.places())
        self._rows_at = {place: at for place, at in self._rows_at.items() if place in places}
        self._rows_at[self._tail.place] = len(self._rows)
        return piece.left


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        row: Any = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("kind"), str) else None
