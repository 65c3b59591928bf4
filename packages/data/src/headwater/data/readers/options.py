"""How the files of a source are read, and the module of each format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import IO, Any, Protocol, cast

from headwater.data.readers.items import Item


@dataclass(frozen=True)
class Options:
    """The part of a source's recipe that readers use; see `FilesSource` for the fields."""

    format: str
    text: str = "text"
    url: str = ""
    id: str = ""
    metadata: tuple[str, ...] = ()
    content_type: str = "text/plain"
    base_url: str = ""
    tail: float = 0.0
    record: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Options:
        """The options in the manifest of a raw artifact."""
        source: Mapping[str, Any] = config["source"]
        given = {name: source[name] for name in cls.__dataclass_fields__ if name in source}
        return cls(**{**given, "metadata": tuple(given.get("metadata", ()))})


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file: the records that begin at or after `start` and before `stop`, in the format's own unit.

    Attributes:
        file: The file's name.
        bytes: Size of the whole file.
        start, stop: The whole file is 0 to WHOLE.
    """

    file: str
    bytes: int
    start: int
    stop: int


WHOLE = 2**62
"""A `stop` beyond the end of any file."""


class Format(Protocol):
    """A module of this package that reads one format."""

    def cut(self, stream: IO[bytes], file: str, size: int, partition_bytes: int) -> list[tuple[int, int]]:
        """Where a file may be cut; called only for files that are larger than a partition."""
        ...

    def read(self, stream: IO[bytes], piece: Piece, options: Options) -> Iterator[Item]:
        """The records that begin in a piece."""
        ...

    def record(self, stream: IO[bytes], file: str, place: int, payload_sha256: str, options: Options) -> bytes | None:
        """The bytes of one record as they were collected; None when there is none at that place."""
        ...


_MODULES = {
    "warc": "warc", "wet": "warc", "html": "whole_file", "text": "whole_file", "code": "whole_file",
    "pdf": "whole_file", "latex": "whole_file", "jsonl": "jsonl", "json": "json_array", "parquet": "parquet",
    "arrow": "arrow_stream", "mediawiki": "mediawiki",
}  # fmt: skip


def format_of(name: str, file: str) -> Format:
    """The reader of a file in a source of this format; "hf" is told from the file's name."""
    if name == "hf":
        lower = file.lower().rpartition("/")[2]
        json = "jsonl" if ".jsonl" in lower else "json" if ".json" in lower else ""
        name = "arrow" if lower.endswith(".arrow") else json or "parquet"
    return cast("Format", import_module(f"headwater.data.readers.{_MODULES[name]}"))
