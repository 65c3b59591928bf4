"""What W&B wrote offline, read back: LevelDB's log format, of which W&B has no reader in Python any more."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = path.read_bytes(), 7, b""  # after the file's header
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield Record.FromString(parts)
            parts = b""


def finished(folder: Path) -> list[Path]:
    """The files of the runs below a folder, once W&B's own process has written them: `finish` does not wait for it."""
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    until = time.monotonic() + 120
    while not all(map(_is_finished, files)):
        assert time.monotonic() < until
        time.sleep(0.05)
    return files


def history(path: Path) -> list[dict[str, Any]]:
    """What was logged, a row a call, without what W&B adds."""
    rows = [record.history for record in records(path) if record.WhichOneof("record_type") == "history"]
    return [
        {key: json.loads(item.value_json) for item in row.item if (key := item.key or item.nested_key[0])[0] != "_"}
        for row in rows
    ]


def _is_finished(path: Path) -> bool:
    from google.protobuf.message import DecodeError

    try:
        return [record.WhichOneof("record_type") for record in records(path)][-1:] == ["exit"]
    except (DecodeError, struct.error):
        return False
