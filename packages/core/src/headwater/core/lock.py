"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from headwater.core.errors import StorageError
from headwater.core.storage import storage_errors


@contextmanager
def exclusive(folder: str | Path) -> Generator[None]:
    """Holds a folder while the block runs. The kernel lets go of it when the process ends, however it ends.

    The lock is on the folder itself and leaves no file. A file system that knows no such locks is not guarded.

    Args:
        folder: The folder; made if needed.

    Raises:
        StorageError: Another process holds it.
    """
    with storage_errors("open", folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"another process is writing {folder}",
                expected="one at a time",
                hint="wait until it has ended, or use another folder",
            ) from error
        except OSError:  # some network file systems lock no folders
            pass
        yield
    finally:
        os.close(descriptor)


def is_held(folder: str | Path) -> bool:
    """Whether a process of this machine holds a folder, as far as `/proc/locks` tells. Nothing is locked for it."""
    try:
        about = Path(folder).stat()
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return False
    place = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
    return any(fields[1] == "FLOCK" and place in fields for line in lines if len(fields := line.split()) > 5)
