"""The figures of the page, read from the documents a row group at a time; no text is read."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.core.layout import RunLayout
from headwater.core.manifest import read_manifest
from headwater.core.storage import storage_errors
from headwater.data.arrow import compute, values
from headwater.data.conversations.sources import conversation_sources
from headwater.data.inspect.select import Documents
from headwater.data.operators.host_boilerplate import host_names
from headwater.data.report import conversations
from headwater.data.report.clusters import Clusters
from headwater.data.report.conversations import Conversations

BINS_PER_DECADE = 5
_COLUMNS = ("source", "url", "language", "text_bytes")


@dataclass
class Share:
    """Documents that stayed and that went, and the text of those that stayed."""

    kept: int = 0
    rejected: int = 0
    kept_bytes: int = 0

    @property
    def documents(self) -> int:
        """All of them."""
        return self.kept + self.rejected

    @property
    def ratio(self) -> float:
        """The share that stayed."""
        return self.kept / self.documents if self.documents else 0.0


@dataclass(frozen=True)
class Lengths:
    """Text lengths of a source's kept documents in bytes: shares of them are at most this long."""

    documents: int
    tenth: float
    median: float
    ninetieth: float
    largest: float


@dataclass
class Figures:
    """All figures.

    Attributes:
        funnel: `funnel.json`.
        languages, hosts: Of documents; "" where there is none.
        histogram: Bin → documents; bin k begins at 10**(k / BINS_PER_DECADE) bytes of text.
        without_text: Documents that were set aside before they had a text.
        lengths: By source.
        clusters: Duplicates.
        conversations: Instruction data.
    """

    funnel: dict[str, Any]
    languages: dict[str, Share] = field(default_factory=dict)
    hosts: dict[str, Share] = field(default_factory=dict)
    histogram: dict[int, Share] = field(default_factory=dict)
    without_text: int = 0
    lengths: dict[str, Lengths] = field(default_factory=dict)
    clusters: Clusters = field(default_factory=Clusters)
    conversations: Conversations = field(default_factory=Conversations)


def gather(layout: RunLayout, documents: Documents) -> Figures:
    """Reads everything but the texts."""
    path = layout.documents / "funnel.json"
    with storage_errors("read", path):
        figures = Figures(json.loads(path.read_text(encoding="utf-8")))
    sizes: dict[str, list[npt.NDArray[np.int64]]] = {}
    for kept in (True, False):
        columns = _COLUMNS if kept else (*_COLUMNS, "operator", "detail")
        for rows in documents.scan(kept, columns):
            _add(figures, rows, kept)
            if kept:
                for source in compute.unique(rows.column("source")).to_pylist():
                    mine = rows.filter(compute.equal(rows.column("source"), source))
                    sizes.setdefault(source, []).append(mine.column("text_bytes").to_numpy())
            else:
                figures.clusters.add(rows)
    for source, parts in sorted(sizes.items()):
        every = np.concatenate(parts)
        tenth, median, ninetieth = np.quantile(every, [0.1, 0.5, 0.9]).tolist()
        figures.lengths[source] = Lengths(len(every), tenth, median, ninetieth, float(every.max()))
    figures.clusters.close(documents)
    sources = conversation_sources(read_manifest(layout.documents).config)
    figures.conversations = conversations.gather(documents, sources)
    return figures


def _add(figures: Figures, rows: pa.Table, kept: bool) -> None:
    sizes = rows.column("text_bytes").to_numpy()
    hosts = [host or "" for host in host_names(rows.column("url")).to_pylist()]
    for shares, keys in ((figures.languages, values(rows, "language")), (figures.hosts, hosts)):
        for key, count in Counter(keys).items():
            share = shares.setdefault(key, Share())
            share.kept, share.rejected = share.kept + count * kept, share.rejected + count * (not kept)
        if kept:
            for key, size in zip(keys, sizes.tolist(), strict=True):
                shares[key].kept_bytes += size
    filled = sizes[sizes > 0]
    figures.without_text += len(sizes) - len(filled)
    # A hair up, so that a length that begins a bin is not thrown below it by rounding.
    bins = np.floor(np.log10(filled) * BINS_PER_DECADE + 1e-9).astype(int)
    for place, count in Counter(bins.tolist()).items():
        share = figures.histogram.setdefault(place, Share())
        share.kept, share.rejected = share.kept + count * kept, share.rejected + count * (not kept)
