"""What an operator is: a frozen configuration and `process(batch) -> Verdicts`.

Example:
    >>> class Short(Operator):
    ...     name, reasons = "short", frozenset({"too_short"})
    ...     def process(self, batch):
    ...         decided = Decisions(self, batch)
    ...         for row, text in enumerate(texts_of(batch)):
    ...             if len(text) < 10:
    ...                 decided.reject(row, "too_short", f"{len(text)} characters, at least 10 wanted")
    ...         return decided.verdicts()
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.core.config import Section

KEEP, CHANGE, REJECT = "keep", "change", "reject"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What an operator decided about each row of a batch.

    Attributes:
        operator: The operator's name.
        batch: All rows in their order, with the columns that the operator changed.
        outcomes: "keep", "change" or "reject" for each row.
        reasons: From the operator's closed vocabulary; empty for rows kept unchanged.
        details: The figures that decided, for people (JSON where a program needs them too).
        counters: Whatever else the operator counted.
    """

    operator: str
    batch: pa.RecordBatch
    outcomes: list[str]
    reasons: list[str]
    details: list[str]
    counters: dict[str, int] = field(default_factory=dict)

    @property
    def alive(self) -> npt.NDArray[np.bool_]:
        """True for the rows that go on, shape [rows]."""
        return np.array([outcome != REJECT for outcome in self.outcomes], dtype=np.bool_)

    @property
    def kept(self) -> pa.RecordBatch:
        """The rows that go on."""
        return self.batch.filter(pa.array(self.alive))

    @property
    def rejected(self) -> pa.RecordBatch:
        """The rows set aside, with the columns `operator`, `reason` and `detail` added."""
        gone = ~self.alive
        rows = self.batch.filter(pa.array(gone))
        places = np.flatnonzero(gone).tolist()
        added = {
            "operator": [self.operator] * len(places),
            "reason": [self.reasons[i] for i in places],
            "detail": [self.details[i] for i in places],
        }
        for name, values in added.items():
            rows = rows.append_column(pa.field(name, pa.string(), nullable=False), pa.array(values, pa.string()))
        return rows


class Operator(ABC):
    """One decision about documents. Holds its configuration and nothing that changes between batches.

    Attributes:
        name: As written in recipes, verdicts and the funnel.
        reasons: The closed vocabulary of reasons for a rejection or a change.
        changes: Whether it may change columns other than the verdict; the pipeline gives it live rows only.
        live_only: Whether it is given live rows only for another reason: it counts, or reads what other rows may lack.
    """

    name: ClassVar[str]
    reasons: ClassVar[frozenset[str]]
    changes: ClassVar[bool] = False
    live_only: ClassVar[bool] = False

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Decides about each row; the order of rows stays."""


class Decisions:
    """Collects an operator's decisions row by row. A row's first rejection counts.

    Args:
        operator: Whose decisions these are; gives the vocabulary.
        batch: The rows decided about.
    """

    def __init__(self, operator: Operator, batch: pa.RecordBatch) -> None:
        rows = batch.num_rows
        self.operator, self.batch = operator, batch
        self.outcomes, self.reasons, self.details = [KEEP] * rows, [""] * rows, [""] * rows
        self.counters: dict[str, int] = {}

    def reject(self, row: int, reason: str, detail: str = "") -> None:
        """Sets a row aside, unless it already is."""
        if self.outcomes[row] != REJECT:
            self._set(row, REJECT, reason, detail)

    def reject_where(self, mask: npt.NDArray[np.bool_], reason: str, figure: npt.NDArray[Any], rule: str) -> None:
        """Sets aside the rows where `mask` holds; the detail is the row's `figure` and the `rule` that it breaks."""
        for row in np.flatnonzero(mask).tolist():
            value = figure[row]
            shown = f"{value:,}" if isinstance(value, np.integer) else f"{value:.3f}"
            self.reject(row, reason, f"{shown} {rule}")

    def note(self, row: int, detail: str) -> None:
        """Says why a row goes on as it is."""
        self.details[row] = detail

    def change(self, row: int, reason: str, detail: str = "") -> None:
        """Notes that the operator changed the row."""
        self._set(row, CHANGE, reason, detail)

    def count(self, name: str, amount: int = 1) -> None:
        """Adds to a counter."""
        self.counters[name] = self.counters.get(name, 0) + amount

    def verdicts(self, batch: pa.RecordBatch | None = None) -> Verdicts:
        """The finished verdicts; give `batch` when columns changed."""
        rows = self.batch if batch is None else batch
        return Verdicts(self.operator.name, rows, self.outcomes, self.reasons, self.details, self.counters)

    def _set(self, row: int, outcome: str, reason: str, detail: str) -> None:
        if reason not in self.operator.reasons:
            raise ValueError(f"operator {self.operator.name} has no reason {reason!r} in its vocabulary")
        self.outcomes[row], self.reasons[row], self.details[row] = outcome, reason, detail


class OperatorConfig(Section):
    """Base of the operators' options."""

    def content(self) -> dict[str, Any]:
        """The options as artifacts record them; they decide whether a stage is up to date."""
        return self.model_dump(mode="json")
