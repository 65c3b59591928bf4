"""Which documents an event is about: in the event itself, and whole in a file beside it when they are many."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from headwater.core.storage import atomic_write
from headwater.train.batches import documents_of
from headwater.train.inputs import Inputs

LISTED = 2_000
"""Entries that an event holds itself: a document in a sample is one."""
FOLDER = "guard"
"""Under the training folder."""


def evidence(inputs: Inputs, kind: str, step: int, samples: Sequence[int]) -> dict[str, Any]:
    """The fields of an event about samples.

    Args:
        inputs: The run's inputs.
        kind: Of the event.
        step: Of the event.
        samples: Their numbers in the order, ascending.

    Returns:
        `samples` (first, and last + 1) and `documents`: sample, source, id and URL of each document in each sample. Of
        more than `LISTED`, the first ones; then `documents_total` says how many there are, and `documents_file`, a
        path under the training folder, where all of them are, one JSON object a line.
    """
    documents = documents_of(inputs, samples)
    fields: dict[str, Any] = {"samples": [int(samples[0]), int(samples[-1]) + 1], "documents": documents[:LISTED]}
    if len(documents) > LISTED:
        # By its samples too: a run that went back may meet the same step once more.
        name = f"{FOLDER}/{kind}-{step:08d}-{samples[0]}-{samples[-1]}.jsonl"
        path = inputs.run.train / name
        path.parent.mkdir(exist_ok=True)
        atomic_write(path, "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents))
        fields |= {"documents_total": len(documents), "documents_file": name}
    return fields
