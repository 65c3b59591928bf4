"""What a program inside the sandbox sees: the interpreter, the system libraries, /proc, /dev and a small /tmp."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

NOBODY = 65534
TEMPORARY_BYTES = 16 * 1024 * 1024
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


def interpreter() -> Interpreter:
    """The interpreter that this process runs on, without its virtual environment.

    A folder such as /root/.pyenv/versions/3.11.7 is seen inside as /python, and nothing else of the home folder that
    it lies in is there.
    """
    base = Path(sys.base_prefix).resolve()
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if base.is_relative_to("/usr"):
        return Interpreter(str(base / "bin" / name))
    return Interpreter(f"{_INSIDE}/bin/{name}", base, {"LD_LIBRARY_PATH": f"{_INSIDE}/lib"})


def arguments(filter_fd: int) -> list[str]:
    """The options for bubblewrap.

    Args:
        filter_fd: File descriptor of the system call filter.
    """
    options = [
        "--unshare-all", "--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY), "--disable-userns",
        "--hostname", "sandbox", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv",
        "--ro-bind", "/usr", "/usr",
    ]  # fmt: skip
    for name in ("/bin", "/lib", "/lib32", "/lib64", "/sbin"):
        if Path(name).is_symlink():
            options += ["--symlink", str(Path(name).readlink()), name]
        elif Path(name).is_dir():
            options += ["--ro-bind", name, name]
    options += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    python = interpreter()
    if python.prefix is not None:
        options += ["--ro-bind", str(python.prefix), _INSIDE]
    # A fixed hash seed: a program that depends on the order of a set gives the same answer every time.
    settings = {"PATH": "/usr/bin", "LANG": "C.UTF-8", "HOME": "/tmp", "PYTHONHASHSEED": "0"}  # noqa: S108
    for name, value in {**settings, **python.settings}.items():
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
    reachable = all(folder.stat().st_mode & 0o001 for start in folders for folder in (start, *start.parents))
    return NOBODY if reachable else None
