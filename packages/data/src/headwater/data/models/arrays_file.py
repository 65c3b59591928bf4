"""Files of named arrays: safetensors, read through a memory map, with what the file is in its header.

The format holds numbers and text only: opening a file from somewhere else runs nothing. Processes that read the same
file share its pages.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.errors import ConfigError
from headwater.core.storage import canonical_json, storage_errors

_KEY = "headwater"  # one entry only: the library writes several in an order that changes
_TYPES = {"U8": np.uint8, "U64": np.uint64, "F32": np.float32}
_MAX_HEADER_BYTES = 100_000_000


def write(path: Path, kind: str, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes arrays, whole or not at all.

    Args:
        path: The file.
        kind: What it is, for example "ngram".
        header: JSON values.
        arrays: uint8, uint64 or float32.

    Raises:
        StorageError: The disk refused.
    """
    from safetensors.numpy import save_file

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors("write", path):
        try:
            save_file(dict(arrays), temporary, metadata={_KEY: canonical_json({**header, "kind": kind})})
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """The header and the arrays of a file; the arrays are memory maps and cannot be written to.

    Raises:
        ConfigError: It is no such file, is of another kind, or is damaged.
        StorageError: It cannot be read.
    """
    expected = f"a file that headwater data model train {kind} wrote"
    with storage_errors("read", path):
        size = path.stat().st_size
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            content = stream.read(length) if length <= min(size, _MAX_HEADER_BYTES) else b""
    try:
        entries: Any = json.loads(content)
        header: Any = json.loads(entries.pop("__metadata__")[_KEY])
        found = header["kind"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is no model of Headwater's", found=f"{size:,} bytes without its header",
                          expected=expected) from error  # fmt: skip
    if found != kind:
        raise ConfigError(f"{path} holds a model of another kind", found=found, expected=expected)
    try:
        spans = {name: entry["data_offsets"] for name, entry in entries.items()}
        end = max(stop for _, stop in spans.values())
        if 8 + length + end != size:
            raise ConfigError(f"the model {path} is damaged", found=f"{size:,} bytes",
                              expected=f"{8 + length + end:,}, as its header says")  # fmt: skip
        return header, {name: _map(path, entry, 8 + length) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"the model {path} is damaged: its list of arrays cannot be read",
                          hint="restore it, or train it again") from error  # fmt: skip


def _map(path: Path, entry: Mapping[str, Any], data: int) -> npt.NDArray[Any]:
    kind, shape, (start, stop) = np.dtype(_TYPES[entry["dtype"]]), tuple(entry["shape"]), entry["data_offsets"]
    if stop - start != int(np.prod(shape)) * kind.itemsize:
        raise ValueError("an array's size is not that of its place")
    if stop == start:
        return np.empty(shape, kind)
    return np.memmap(path, kind, mode="r", offset=data + start, shape=shape)
