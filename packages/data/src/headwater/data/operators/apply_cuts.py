"""Removes the spans that a global step (repeated lines, host templates) found."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from headwater.data.arrow import values
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.rows import is_whole, texts_of, with_column

LEFT_ALONE = "left alone: "
"""What the verdict about a document of an exempt type begins with."""
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n(?:[^\S\n]*\n)+")


class CutConfig(Protocol):
    """What every cutting step lets be set."""

    @property
    def min_characters(self) -> int:
        """Documents that lost something and have fewer characters left are set aside."""
        ...

    @property
    def exempt_types(self) -> tuple[str, ...]:
        """Media type prefixes that are left alone."""
        ...


class ApplyCuts(Operator):
    """Cuts spans out of texts, and closes the gaps: at most one blank line stays in a row.

    Args:
        name: The step; it is also the reason of a change.
        config: The step's options.
        cuts: Row → spans, as in `headwater.data.cuts.GATHERED`.
        earlier: Row → which of its spans earlier indexes have, as there.
    """

    name = "cut"
    reasons = frozenset({"host_boilerplate", "line_dedup", "substring_dedup", "too_short"})
    changes = True

    def __init__(self, name: str, config: CutConfig, cuts: Mapping[bytes, bytes],
                 earlier: Mapping[bytes, str] | None = None) -> None:  # fmt: skip
        super().__init__(OperatorConfig())
        self.name = name  # pyright: ignore[reportAttributeAccessIssue] — the step it stands for, in verdicts
        self.least, self.exempt_types, self.cuts, self.earlier = (
            config.min_characters, config.exempt_types, cuts, earlier or {}
        )  # fmt: skip

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `row` and `content_type`; changes `text`."""
        decided, texts = Decisions(self, batch), texts_of(batch)
        columns = zip(values(batch, "row"), values(batch, "content_type"), strict=True)
        for place, (row, media_type) in enumerate(columns):
            if is_whole(media_type, self.exempt_types):
                decided.note(place, f"{LEFT_ALONE}{media_type}")
            spans = self.cuts.get(row)
            if not spans:
                continue
            pairs = np.frombuffer(spans, "<i8").reshape(-1, 2)
            left = cut(texts[place], pairs)
            figures = f"{len(pairs):,} spans, {len(texts[place]) - len(left):,} characters removed"
            known: dict[str, dict[str, Any]] = json.loads(self.earlier.get(row, "{}"))
            for name, found in known.items():
                figures += f"; {found['spans']:,} of the spans in {name}: {', '.join(found['documents'])}"
            if len(left) < self.least:
                decided.reject(place, "too_short", f"{len(left):,} characters left < {self.least:,}; {figures}")
                continue
            decided.change(place, self.name, figures)
            decided.count("spans_removed", len(pairs))
            decided.count("characters_removed", len(texts[place]) - len(left))
            for name, found in known.items():
                decided.count(f"spans_in:{name}", found["spans"])
            texts[place] = left
        return decided.verdicts(with_column(batch, "text", pa.array(texts, pa.string())))


def cut(text: str, spans: np.ndarray) -> str:
    """The text without some spans of its UTF-8 bytes, and without the blank lines that their removal left.

    Args:
        text: The text.
        spans: Bytes [start, stop) of each, in order, shape [spans, 2].
    """
    data = text.encode("utf-8", "surrogatepass")
    bounds = [0, *spans.ravel().tolist(), len(data)]
    left = b"".join(data[bounds[k] : bounds[k + 1]] for k in range(0, len(bounds), 2))
    return _BLANK_LINES.sub("\n\n", left.decode("utf-8", "surrogatepass")).strip("\n")
