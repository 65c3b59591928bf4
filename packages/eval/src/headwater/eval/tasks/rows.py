"""Items as lm-eval reads them, without `datasets`, whose import takes longer than a short evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import cached_property
from typing import Any


class Rows(Sequence[dict[str, Any]]):
    """The items of a split: what lm-eval itself asks of a `datasets.Dataset`.

    What else a task file asks of it (`map`, `filter`, a column) is answered by a `datasets.Dataset` of the same items.

    Args:
        rows: The items, at least one, all with the same columns.
    """

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> Any:
        # Whoever changes an item changes a copy, as with `datasets`.
        return deepcopy(self._rows[key]) if isinstance(key, int) else self._dataset[key]

    @property
    def features(self) -> dict[str, Any]:
        """The columns."""
        return dict.fromkeys(self._rows[0])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._dataset, name)

    @cached_property
    def _dataset(self) -> Any:
        from datasets import Dataset

        return Dataset.from_list(self._rows)
