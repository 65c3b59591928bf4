"""One record as it was collected, for `headwater trace doc --raw` (entry point group `headwater.records`)."""

from __future__ import annotations

from typing import IO, Any

from headwater.data.readers.options import Options, format_of


def record_bytes(stream: IO[bytes], file: str, place: int, payload_sha256: str, config: dict[str, Any]) -> bytes | None:
    """The bytes of the record at a place; None when there is none.

    Args:
        stream: The file.
        file: Its name.
        place: As in the document's row.
        payload_sha256: As in the document's row, which tells records of one place apart; "" for an unreadable one.
        config: Of the source's raw artifact.
    """
    options = Options.of(config)
    return format_of(options.format, file).record(stream, file, place, payload_sha256, options)
