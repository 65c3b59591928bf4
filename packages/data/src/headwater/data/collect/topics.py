"""The Python language reference that ships inside Python, one record a topic."""

from __future__ import annotations

from typing import Any

from headwater.data.collect.warc_writer import WarcArchive

BASE_URI = "python://reference/"


def topics() -> dict[str, str]:
    """Topic → its text (plain text made from reStructuredText by Python's own documentation build)."""
    from pydoc_data.topics import topics as texts

    return dict(sorted(texts.items()))


def write(archive: WarcArchive) -> dict[str, Any]:
    """Write every topic to an archive and return the counters."""
    total = 0
    texts = topics()
    for name, text in texts.items():
        payload = text.encode("utf-8")
        archive.resource(BASE_URI + name, "text/plain; charset=utf-8", payload)
        total += len(payload)
    return {"files": len(texts), "bytes": total}
