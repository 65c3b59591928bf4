"""From the columns of a record to an item: the text, where it is from, and what is kept beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headwater.data.readers.items import Item
from headwater.data.readers.options import Options

_MAX_METADATA = 10_000  # characters: a verdict is no place for a second document
_MISSING = object()


def item_of(place: int, record: Mapping[str, Any], options: Options, line: bytes | None = None) -> Item:
    """The item of a record; with a `fault` when a column is missing or has another type.

    Args:
        place: Where it is.
        record: Its columns.
        options: Of the source. With `record`, the payload is the whole record as JSON.
        line: The record as JSON, where it was written so.
    """
    text = b"" if options.record else _lookup(record, options.text)
    if text is _MISSING or text is None:
        what = "no column" if text is _MISSING else "no value in column"
        return Item(place, fault=f"{what} {options.text}")
    try:
        text = (line or _whole(record)) if options.record else text
        payload = text if isinstance(text, bytes) else _string(text, options.text).encode("utf-8")
        url = _name(record, options.url) or _name(record, options.id)
        url.encode("utf-8")
        kept = {name: value for name in options.metadata if (value := _lookup(record, name)) is not _MISSING}
        metadata = json.dumps(kept, ensure_ascii=False, sort_keys=True, default=str) if kept else ""
        metadata.encode("utf-8")
    except UnicodeEncodeError as error:
        return Item(place, fault=f"half of a surrogate pair, which no text has: {error.object[error.start]!a}")
    except (TypeError, ValueError, RecursionError) as error:
        return Item(place, fault=str(error)[:300])
    if len(metadata) > _MAX_METADATA:
        return Item(place, fault=f"{len(metadata):,} characters of metadata, at most {_MAX_METADATA:,}")
    media_type = "application/json" if options.record else options.content_type
    return Item(place, payload, media_type, url, "utf-8", metadata=metadata)


def top_level(names: list[str], options: Options) -> list[str]:
    """Of a file's columns, those that the options name or that hold what they name; of whole records, all."""
    if options.record:
        return names
    wanted = [name for name in (options.text, options.url, options.id, *options.metadata) if name]
    return [name for name in names if any(each == name or each.startswith(f"{name}.") for each in wanted)]


def _lookup(record: Mapping[str, Any], name: str) -> Any:
    """A column by its name, or along the dots in it."""
    if name in record:
        return record[name]
    here: Any = record
    for part in name.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return _MISSING
        here = here[part]
    return here


def _whole(record: Mapping[str, Any]) -> bytes:
    """A record as JSON; bytes, which JSON has not, by their number."""

    def plain(value: object) -> str:
        return f"{len(value):,} bytes" if isinstance(value, bytes) else str(value)

    return json.dumps(record, ensure_ascii=False, sort_keys=True, default=plain).encode("utf-8")


def _string(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"column {name} is {type(value).__name__}, expected str")
    return value


def _name(record: Mapping[str, Any], name: str) -> str:
    """The text of the column of URLs or ids; whole numbers are names too. "" where there is none."""
    value = _lookup(record, name) if name else None
    if value is _MISSING or value is None:
        return ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _string(value, name)
