"""How Arrow record batches travel between Beam's workers: as Arrow IPC streams, never pickled."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pyarrow as pa


class ArrowBatchCoder(beam.coders.Coder):
    """A record batch as one Arrow IPC stream: schema, then the batch, uncompressed.

    The bytes depend on the batch alone, and the schema travels along, so one coder serves all steps.
    """

    def encode(self, value: pa.RecordBatch) -> bytes:
        """The IPC stream."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write_batch(value)
        return sink.getvalue().to_pybytes()

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        """The batch; its columns point into `encoded`."""
        with pa.ipc.open_stream(pa.py_buffer(encoded)) as reader:
            return reader.read_next_batch()

    def is_deterministic(self) -> bool:
        """True: one batch has one encoding."""
        return True

    def estimate_size(self, value: pa.RecordBatch) -> int:
        """Bytes, without encoding."""
        return value.nbytes

    def to_type_hint(self) -> Any:
        """What the coder is registered for."""
        return pa.RecordBatch

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


def register() -> None:
    """Makes Beam use the coder for every collection with record batches."""
    beam.coders.registry.register_coder(pa.RecordBatch, ArrowBatchCoder)
