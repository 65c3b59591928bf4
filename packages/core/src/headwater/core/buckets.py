"""Buckets: a source of documents whose tokens are several data sets, cut by a figure of the documents.

The tokens of `web` in four buckets are `tokens/web-1of4` … `tokens/web-4of4`, in ascending order of the figure. To a
mixture each is a source like any other. Its manifest says under `BUCKET` what it is a part of.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headwater.core.manifest import Manifest, is_artifact, read_manifest

BUCKET = "bucket"
"""Where the configuration in a manifest of tokens says of which source, by which figure and which bucket they are."""


def bucket_names(source: str, count: int) -> list[str]:
    """The names of a source's buckets, lowest first."""
    return [f"{source}-{number}of{count}" for number in range(1, count + 1)]


def bucket_of(manifest: Manifest) -> str | None:
    """The source of documents that tokens are a bucket of; none if they are not."""
    described: dict[str, Any] | None = manifest.config.get(BUCKET)
    return None if described is None else str(described["of"])


def buckets_of(tokens_root: Path, source: str) -> Iterator[Path]:
    """The folders of a source's buckets."""
    for folder in sorted(tokens_root.glob(f"{source}-*of*")):
        if is_artifact(folder) and bucket_of(read_manifest(folder)) == source:
            yield folder
