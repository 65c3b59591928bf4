"""The operator `pii`: redaction of personal data and secrets."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from headwater.data.arrow import utf8, values
from headwater.data.conversations.text import outside_markers
from headwater.data.models.model_file import FileOperator
from headwater.data.operators.base import Decisions, Verdicts
from headwater.data.operators.pii.config import PiiConfig
from headwater.data.operators.pii.recognise import found_in
from headwater.data.operators.pii.spans import Replacement, Span, detail, replaced
from headwater.data.rows import CONVERSATION, with_column


class Pii(FileOperator):
    """Replaces personal data and secrets by placeholders, counts them, and notes where they were."""

    name = "pii"
    reasons = frozenset({"redacted"})
    changes = True
    config: PiiConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `content_type`, reads and changes `text`. The column stays the very same when nothing is found."""
        decided, column, types = Decisions(self, batch), batch.column("text"), values(batch, "content_type")
        changed: dict[int, bytes] = {}
        for row, text, spans in found_in(column, self.config):
            if types[row] == CONVERSATION:
                spans = [Span(*each) for each in outside_markers(text, spans)]
                if not spans:
                    continue
            changed[row], done = replaced(text, spans, self.config.placeholder_of())
            decided.change(row, "redacted", detail(done, self.config.max_recorded))
            for kind, count in Counter(each.kind for each in done).items():
                decided.count(f"redacted_{kind}", count)
        return decided.verdicts(with_column(batch, "text", _with_texts(column, changed)) if changed else batch)


def redact(text: str, config: PiiConfig) -> tuple[str, list[Replacement]]:
    """One text with placeholders, and what was replaced."""
    for _, original, spans in found_in(pa.array([text], pa.string()), config):
        redacted, done = replaced(original, spans, config.placeholder_of())
        return redacted.decode(), done
    return text, []


def _with_texts(column: pa.Array, changed: dict[int, bytes]) -> pa.Array:
    """The column with some texts replaced; what lies between them is copied as it is."""
    content, bounds = utf8(column)
    whole = content.tobytes()
    texts = [
        changed[row] if row in changed else whole[bounds[row] : bounds[row + 1]] for row in range(len(column))
    ]  # fmt: skip
    return pa.array(texts, pa.binary()).cast(pa.string())
