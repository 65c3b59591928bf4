"""Errors of workers on other machines: written down where they happen, so that the driver can raise them whole.

Runners hand back text, with a stack trace of each layer in between. What a reader needs is the error, the step, and
the document.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from headwater.core import errors
from headwater.core.errors import DataError, HeadwaterError
from headwater.core.storage import atomic_write
from headwater.data.arrow import values
from headwater.data.engine import BatchFunction
from headwater.data.engines.units import outputs_of

_PLACE = ("source", "warc_file", "warc_offset")


@dataclass(frozen=True)
class Failures:
    """A folder with one file a failed attempt. Picklable."""

    path: str

    def clear(self) -> None:
        """Forgets the failures of earlier attempts. For the driver."""
        Path(self.path).mkdir(parents=True, exist_ok=True)
        for old in Path(self.path).glob("*.json"):
            old.unlink(missing_ok=True)

    def note(self, step: str, unit: str, error: BaseException) -> None:
        """Writes an error down. For workers; a second failure, of the disk, does not hide the first."""
        known = isinstance(error, HeadwaterError)
        places = getattr(error, "__notes__", [])
        found = {
            "kind": type(error).__name__,
            "message": error.message if known else f"{type(error).__name__}: {error}",
            "found": None if not known or error.found is None else str(error.found),
            "expected": None if not known or error.expected is None else str(error.expected),
            "hint": error.hint if known else None,
            "place": "; ".join([f"step {step}, unit {unit}", *places]),
        }
        with suppress(HeadwaterError, OSError):
            atomic_write(Path(self.path) / f"{uuid4().hex}.json", json.dumps(found))

    def first(self) -> HeadwaterError | None:
        """The error that was written down first."""
        files = sorted(Path(self.path).glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        if not files:
            return None
        noted = json.loads(files[0].read_bytes())
        kind = getattr(errors, noted["kind"], DataError)
        return kind(
            f"{noted['message']} ({noted['place']})", found=noted["found"], expected=noted["expected"],
            hint=noted["hint"] or "mend the cause and run the same command again: finished work is kept",
        )  # fmt: skip


def outputs_or_place(function: BatchFunction, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, pa.Table]]:
    """As `outputs_of`; an error of the function is noted with the document that it is about."""
    for batch in batches:
        try:
            yield from outputs_of(function, [batch])
        except Exception as error:
            error.add_note(_place_of(function, batch))
            raise


def _place_of(function: BatchFunction, batch: pa.RecordBatch) -> str:
    """Which row a function fails on, in words: functions look at rows, so one row alone fails too."""
    for number in range(batch.num_rows):
        row = batch.slice(number, 1)
        try:
            function(row)
        except Exception:
            if not set(_PLACE) <= set(batch.schema.names):
                return f"row {number} of {batch.num_rows}"
            source, file, offset = (values(row, name)[0] for name in _PLACE)
            return f"document {source}/{file} at offset {offset}"
    return f"a batch of {batch.num_rows} rows"
