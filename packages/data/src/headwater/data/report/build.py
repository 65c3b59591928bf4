"""Writes the page of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headwater.core.layout import RunLayout
from headwater.core.storage import atomic_write
from headwater.data.inspect.select import Documents
from headwater.data.report.gather import Figures, gather
from headwater.data.report.render import render
from headwater.data.report.samples import samples_of


@dataclass(frozen=True)
class Built:
    """The page and the figures on it."""

    path: Path
    figures: Figures


def build(layout: RunLayout, path: Path, seed: int = 0) -> Built:
    """Writes the page.

    Args:
        layout: The run folder.
        path: The file to write; it needs no other.
        seed: Draws the samples.

    Raises:
        ManifestError: The run has no finished documents.
        StorageError: The disk refused.
    """
    documents = Documents(layout)
    figures = gather(layout, documents)
    operators, kept = samples_of(figures.funnel, documents, seed)
    page = render(figures, operators, kept, name=layout.root.resolve().name, run=str(layout.root))
    atomic_write(path, page)
    return Built(path, figures)
