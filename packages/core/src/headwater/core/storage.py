"""Hashing and safe writing. Every byte that an artifact holds passes through here."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headwater.core.errors import StorageError


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spare white space: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def json_digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@contextmanager
def storage_errors(action: str, path: str | Path) -> Generator[None]:
    """Turns an `OSError` (full disk, no permission, …) into a `StorageError` that says what was being done.

    Args:
        action: What is being done, for example "write".
        path: What it is being done to.
    """
    try:
        yield
    except OSError as error:
        raise refusal(action, path, error) from error


def refusal(action: str, path: str | Path, error: OSError) -> StorageError:
    """What an `OSError` comes to for a reader: what was being done to which file, why it failed, what to do."""
    hint = "mend the cause and run the same command again: finished work is kept"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space (or choose another disk) and run the same command again: finished work is kept"
    return StorageError(f"cannot {action} {path}: {error.strerror or error}", hint=hint)


_UNFINISHED = re.compile(r"\..+\.\d+\.tmp")


def is_unfinished(name: str) -> bool:
    """Whether a file's name is that of an `atomic_write` that was killed before it was done."""
    return _UNFINISHED.fullmatch(name) is not None


def atomic_write(path: str | Path, content: bytes | str) -> None:
    """Writes a file so that it is seen whole or not at all, also after a power cut.

    Args:
        path: The file; its folder must exist.
        content: Bytes, or text that is written as UTF-8.

    Raises:
        StorageError: The disk refused.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors("write", path):
        try:
            with open(temporary, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
            _fsync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
