"""Applies what a global step (deduplication, balance) decided about single rows."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from headwater.data.arrow import values
from headwater.data.operators import exact_dedup, minhash_dedup, prompt_dedup, task_balance
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts


class ApplyDecisions(Operator):
    """Sets aside the rows that the step `name` decided against.

    Args:
        name: The step.
        decided: Row → (step, reason, detail).
    """

    name = "deduplicate"
    reasons = frozenset({exact_dedup.URL_REASON, exact_dedup.REASON, minhash_dedup.REASON, prompt_dedup.REASON,
                         task_balance.REASON})  # fmt: skip

    def __init__(self, name: str, decided: Mapping[bytes, tuple[str, str, str]]) -> None:
        super().__init__(OperatorConfig())
        self.name = name  # pyright: ignore[reportAttributeAccessIssue] — the step it stands for, in verdicts
        self.decided = decided

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `row`."""
        verdicts = Decisions(self, batch)
        for place, row in enumerate(values(batch, "row")):
            step, reason, detail = self.decided.get(row, ("", "", ""))
            if step == self.name:
                verdicts.reject(place, reason, detail)
        return verdicts.verdicts()


def decisions_of(batch: pa.RecordBatch) -> dict[bytes, tuple[str, str, str]]:
    """The decisions that were joined to a batch's rows (columns `operator`, `reason`, `detail`, null for none)."""
    columns = [values(batch, name) for name in ("row", "operator", "reason", "detail")]
    return {row: (step, reason, detail) for row, step, reason, detail in zip(*columns, strict=True) if step}
