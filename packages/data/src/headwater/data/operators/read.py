"""The first operator of every chain: sets aside WARC records that could not be read."""

from __future__ import annotations

import pyarrow as pa

from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts


class Read(Operator):
    """Sets aside rows with a `fault`; the place is in their `warc_file` and `warc_offset`."""

    name = "read"
    reasons = frozenset({"bad_record"})
    config: OperatorConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `fault`."""
        decided = Decisions(self, batch)
        for row, fault in enumerate(batch.column("fault").to_pylist()):
            if fault:
                decided.reject(row, "bad_record", fault)
        return decided.verdicts()
