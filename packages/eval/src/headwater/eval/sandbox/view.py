"""What a program inside the sandbox sees: the interpreter, the system libraries and a small temporary folder.

bubblewrap also gives /proc and /dev of its own; without namespaces there are a few devices and no /proc.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

NOBODY = 65534
TEMPORARY_BYTES = 16 * 1024 * 1024
SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/sbin", "/etc/ld.so.cache")
"""What is read-only inside, besides the interpreter, where the machine has it."""
# A fixed hash seed: a program that depends on the order of a set gives the same answer every time.
ENVIRONMENT = {"PATH": "/usr/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
_INSIDE = "/python"


@dataclass(frozen=True)
class Interpreter:
    """The interpreter inside.

    Attributes:
        path: Its path inside.
        prefix: The folder to bind, or None when it lies under /usr, which is bound anyway.
        settings: Environment variables that it needs to find its own library.
    """

    path: str
    prefix: Path | None = None
    settings: dict[str, str] = field(default_factory=dict[str, str])


def interpreter(place: str | None = _INSIDE) -> Interpreter:
    """The interpreter that this process runs on, without its virtual environment.

    A folder such as /root/.pyenv/versions/3.11.7 is seen inside as /python, and nothing else of the home folder that
    it lies in is there.

    Args:
        place: The path inside of a folder that does not lie under /usr; None: it stays where it is.
    """
    base = Path(sys.base_prefix).resolve()
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if base.is_relative_to("/usr"):
        return Interpreter(str(base / "bin" / name))
    seen = place or str(base)
    return Interpreter(f"{seen}/bin/{name}", base, {"LD_LIBRARY_PATH": f"{seen}/lib"})


def arguments(filter_fd: int) -> list[str]:
    """The options for bubblewrap.

    Args:
        filter_fd: File descriptor of the system call filter.
    """
    options = [
        "--unshare-all", "--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY), "--disable-userns",
        "--hostname", "sandbox", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv",
    ]  # fmt: skip
    for name in SYSTEM:
        if Path(name).is_symlink():
            options += ["--symlink", str(Path(name).readlink()), name]
        else:
            options += ["--ro-bind-try", name, name]
    python = interpreter()
    if python.prefix is not None:
        options += ["--ro-bind", str(python.prefix), _INSIDE]
    for name, value in {**ENVIRONMENT, "HOME": "/tmp", **python.settings}.items():  # noqa: S108
        options += ["--setenv", name, value]
    # Everything but the temporary folder is read-only, also the empty folders that bubblewrap itself made.
    return [
        *options, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev",
        "--size", str(TEMPORARY_BYTES), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp",  # noqa: S108
        "--seccomp", str(filter_fd),
    ]  # fmt: skip


def other_user(bwrap: str) -> int | None:
    """The user that root becomes before bubblewrap starts, where the interpreter's folder lets others in; else None."""
    if os.geteuid() != 0:
        return None
    prefix = interpreter().prefix
    folders = [Path(bwrap).resolve().parent, *([] if prefix is None else [prefix])]
    return NOBODY if all(open_to_others(folder) for folder in folders) else None


def open_to_others(folder: Path) -> bool:
    """Whether any user may look for names in a folder."""
    return all(each.stat().st_mode & 0o001 for each in (folder, *folder.parents))


@lru_cache(maxsize=1)
def unprivileged_user() -> int | None:
    """The user that root becomes where it is allowed to, found out by becoming it; None for all others."""
    if os.geteuid() != 0:
        return None
    try:
        subprocess.run(["/bin/sh", "-c", ":"], user=NOBODY, group=NOBODY, extra_groups=[], check=True, cwd="/")
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return NOBODY
