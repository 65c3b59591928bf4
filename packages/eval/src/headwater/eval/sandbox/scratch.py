"""A private temporary folder for one program, with a limit on what it holds and a removal that nothing in it can stop.

A folder of a shared file system has no size of its own, so it is measured while the program runs.
"""

import itertools
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from headwater.eval.sandbox.view import open_to_others

_ENTRIES = 2048
_DEPTH = 32
_REWRITES = 4  # how many times over the limit may be written


def make(user: int | None) -> Path:
    """An empty folder that only its user may enter.

    Args:
        user: Whose it is, or None for this process's user.
    """
    usual = Path(tempfile.gettempdir())
    # Another user must be able to reach it.
    parent = usual if user is None or open_to_others(usual.resolve()) else Path("/tmp")  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix="headwater-sandbox-", dir=parent)).resolve()
    if user is not None:
        os.chown(folder, user, user)
    return folder


def breach(folder: Path, process: int, printed: int, limit: int) -> str | None:
    """What is too much, or None.

    Args:
        folder: The temporary folder.
        process: Who writes there. What it wrote is counted too, because a file that was deleted while it is open or
            mapped takes space that no folder shows.
        printed: Bytes that it wrote elsewhere.
        limit: Number of bytes.
    """
    found = _held(folder)
    if found is None:
        return f"the temporary folder holds more than {_ENTRIES} files, or folders deeper than {_DEPTH}"
    if found > limit:
        return f"the temporary folder takes more than {limit} bytes"
    if _written(process, printed) > _REWRITES * limit:
        return f"the program wrote more than {_REWRITES * limit} bytes to files"
    return None


def _held(folder: Path) -> int | None:
    """Bytes that the files in a folder take; None when there are too many to count."""
    total, entries, pending = 0, 0, [(str(folder), 0)]
    while pending:
        path, depth = pending.pop()
        with suppress(OSError), os.scandir(path) as found:
            for entry in found:
                entries += 1
                if entries > _ENTRIES or depth > _DEPTH:
                    return None
                about = entry.stat(follow_symlinks=False)
                total += about.st_blocks * 512
                if stat.S_ISDIR(about.st_mode):
                    pending.append((entry.path, depth + 1))
    return total


def _written(process: int, printed: int) -> int:
    """Bytes that a process wrote to files (proc_pid_io(5)); 0 where the kernel does not count or tell.

    Those sent to storage, which a file system in memory has none of, or those given to calls that write.
    """
    with suppress(OSError, ValueError):
        lines = Path(f"/proc/{process}/io").read_text(encoding="ascii").splitlines()
        counted = {name: int(count) for name, _, count in (line.partition(":") for line in lines)}
        return max(counted.get("write_bytes", 0), counted.get("wchar", 0) - printed)
    return 0


def remove(folder: Path) -> None:
    """Removes a folder whose program has ended.

    Not `shutil.rmtree`: a program can nest folders deeper than that recurses, and make some that may not be entered.
    """
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    names = (f"{os.urandom(8).hex()}-{count}" for count in itertools.count())
    try:
        pending = os.listdir(top)  # noqa: PTH208 - by descriptor
        while pending:
            name = pending.pop()
            if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=top)
                continue
            os.chmod(name, 0o700, dir_fd=top)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
            try:
                for entry in os.listdir(inner):  # noqa: PTH208
                    if stat.S_ISDIR(os.stat(entry, dir_fd=inner, follow_symlinks=False).st_mode):
                        os.chmod(entry, 0o700, dir_fd=inner)  # a folder is moved by those who may write into it
                    moved = next(names)
                    os.rename(entry, moved, src_dir_fd=inner, dst_dir_fd=top)
                    pending.append(moved)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    folder.rmdir()
