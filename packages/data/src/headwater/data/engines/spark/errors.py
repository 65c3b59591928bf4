"""Errors on their way from a worker, through Spark, to the one who called; and Spark's own, in plain words."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Generator
from contextlib import contextmanager

from headwater.core import errors
from headwater.core.errors import DataError, HeadwaterError

_MARK = "headwater-error:"
_CARRIED = re.compile(_MARK + r"([A-Za-z0-9+/=]+)")

_ARCHIVE = "make an environment for them (headwater data spark-archive) and give it to spark-submit by --archives"


def carried(error: HeadwaterError) -> RuntimeError:
    """An error that says the same, and that `translated` finds in the text that Spark makes of it."""
    found, expected = (None if part is None else str(part) for part in (error.found, error.expected))
    parts = [type(error).__name__, error.message, found, expected, error.hint]
    packed = base64.b64encode(json.dumps(parts).encode()).decode()
    return RuntimeError(f"{error.message}\n{_MARK}{packed}")


@contextmanager
def clear_errors() -> Generator[None]:
    """Turns what Spark raises into the error behind it, where that is known."""
    try:
        yield
    except HeadwaterError:
        raise
    except Exception as error:  # pyspark's and py4j's own
        known = translated(str(error))
        if known is None:
            raise
        raise known from error


def translated(text: str) -> HeadwaterError | None:
    """The error behind a failed Spark job, or None when it is not known.

    Args:
        text: What Spark says.
    """
    match = _CARRIED.search(text)
    if match:
        name, message, found, expected, hint = json.loads(base64.b64decode(match[1]))
        kind = getattr(errors, name, DataError)
        return kind(message, found=found, expected=expected, hint=hint)
    missing = re.search(r"No module named '([\w.]+)'", text)
    if missing:
        return DataError("the Python of a Spark worker lacks a module", found=f"no module {missing[1]}", hint=_ARCHIVE)
    if "PYTHON_VERSION_MISMATCH" in text:
        versions = re.search(r"different version[^\n]*", text)
        return DataError("the Spark workers run another Python", found=versions[0] if versions else None, hint=_ARCHIVE)
    if re.search(r'Cannot run program "[^"]*python[^"]*"', text):
        return DataError("a Spark worker has no such Python", found=re.findall(r'Cannot run program "[^"]*"', text)[0],
                         hint=_ARCHIVE)  # fmt: skip
    if "ExecutorLostFailure" in text or "Master removed our application" in text:
        return DataError(
            "Spark lost its workers too often", found=_last_line(text),
            hint="give them more memory (spark.executor.memory, spark.executor.memoryOverhead) and run the same "
            "command again: finished work is kept",
        )  # fmt: skip
    if "No space left on device" in text:
        return errors.StorageError(
            "a disk of the Spark workers is full", found="No space left on device",
            hint="free some space, or set spark.local.dir to a larger disk, and run the same command again: finished "
            "work is kept",
        )  # fmt: skip
    return None


def _last_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if "Lost" in line or "removed" in line), "")[:300]
