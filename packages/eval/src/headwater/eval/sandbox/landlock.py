"""A sandbox for Python programs that needs no namespaces: Landlock, a system call filter and resource limits.

For machines where bubblewrap cannot start (containers, hosts without user namespaces). Landlock (Salaün, Linux 5.13;
landlock(7)) closes every file but the interpreter, the system libraries and one temporary folder; the filter
(`allowed.py`) closes everything that is no file; root becomes nobody first, where it may. What stays different from
bubblewrap is in docs/eval-sandbox.md. It is closed by default: whatever cannot be set up makes `probe` say no.
"""

import contextlib
import ctypes
import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar

from headwater.core.errors import EvalError
from headwater.eval.sandbox import allowed, scratch, seccomp, view
from headwater.eval.sandbox.runner import (
    INSIDE,
    PROCESSES,
    PYTHON_FLAGS,
    Availability,
    Launch,
    Sandbox,
    framed,
    probe_by_running,
)

# linux/landlock.h
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 12
_FIRST_RIGHTS = (1 << 13) - 1
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_BIND_TCP, _CONNECT_TCP = 1, 2
_ABSTRACT_UNIX_SOCKET, _SIGNAL = 1, 2
_CREATE_RULESET, _RULESET_VERSION = 444, 1

_READ = _READ_FILE | _READ_DIR
_USE_DEVICE = _READ_FILE | _WRITE_FILE
_OWN = (
    _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER | _TRUNCATE
)  # fmt: skip
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_PREFIX = "/proc/self/fd/{}"
_SPARE_THREADS = 4  # times PROCESSES: other programs of the same user start threads too

_CONFINE = Path(__file__).with_name("confine.py").read_text(encoding="utf-8")
_HINT = "an outer filter may refuse Landlock's system calls (see your container's seccomp profile)"
ENABLE = "it needs Linux 5.13 or newer, with landlock among the security modules (boot option lsm=landlock,…)"


class Landlock(Sandbox):
    """Runs Python programs that nobody has read, in processes that have given up their rights."""

    name: ClassVar[str] = "landlock"

    def probe(self) -> Availability:
        """Runs small programs to see that the sandbox works and that it is closed."""
        if not sys.platform.startswith("linux"):
            return Availability(False, f"Landlock is in Linux only, and this is {sys.platform}")
        if seccomp.machine() is None:
            return Availability(False, "there is a system call filter for x86_64 and aarch64 machines only")
        version, problem = abi()
        if version < 1:
            return Availability(False, f"the kernel gives no Landlock ({problem}); {ENABLE}")
        try:
            wrong = self._way_out()
        except (OSError, subprocess.SubprocessError) as error:
            wrong = str(error)
        if wrong is None:
            return Availability(True, backend=self.name)
        return Availability(False, f"Landlock and a system call filter make no closed sandbox here: {wrong}; {_HINT}")

    def _way_out(self) -> str | None:
        """What a program could do that it should not, or None."""
        with tempfile.TemporaryDirectory(prefix="headwater-probe-") as folder:
            secret = Path(folder, "secret")
            secret.write_text("secret", encoding="ascii")
            secret.chmod(0o666)  # so that nothing but the sandbox closes it
            Path(folder).chmod(0o777)
            wrong = probe_by_running(self, f"SECRET, STARTER = {str(secret)!r}, {os.getpid()}\n{_PROBE}")
            left = [path.name for path in Path(folder).iterdir()]
        return wrong or (None if left == ["secret"] else "a program wrote outside its folder")

    def _launch(self, stack: contextlib.ExitStack, result: int) -> Launch:
        machine = seccomp.machine()
        version, problem = abi()
        if machine is None or version < 1:
            raise EvalError("generated code runs in a sandbox only, and there is none", found=problem, hint=ENABLE)
        user = view.unprivileged_user()
        folder = scratch.make(user)
        stack.callback(scratch.remove, folder)
        python, environment = view.interpreter(None), {**view.ENVIRONMENT, "HOME": str(folder), "TMPDIR": str(folder)}
        descriptors: list[int] = []
        if user is not None and python.prefix is not None and not view.open_to_others(python.prefix):
            # The other user gets at the interpreter by a descriptor, past the folders that are closed to it.
            descriptors.append(os.open(python.prefix, os.O_PATH | os.O_DIRECTORY))
            stack.callback(os.close, descriptors[0])
            place = _PREFIX.format(descriptors[0])
            python, environment = view.interpreter(place), environment | {"PYTHONHOME": place}
        readable = [*view.SYSTEM, *descriptors, *([str(python.prefix)] if python.prefix and not descriptors else [])]
        handled, known = _handled(version)
        settings = {
            "parent": os.getpid(),
            "handled": handled,
            "file_rights": _FILE_RIGHTS,
            "rules": [
                *([place, _READ] for place in readable),
                *([place, _USE_DEVICE] for place in _DEVICES),
                [str(folder), _OWN & known],
            ],
        }

        def preface(process: int) -> bytes:
            return framed(json.dumps({**settings, "filter": allowed.program(machine, process).hex()}).encode())

        return Launch(
            arguments=[python.path, *PYTHON_FLAGS, _CONFINE, INSIDE, str(result)],
            descriptors=descriptors,
            environment={**environment, **python.settings},
            folder=str(folder),
            user=user,
            processes=_threads_of(os.getuid() if user is None else user) + _SPARE_THREADS * PROCESSES,
            preface=preface,
            breach=lambda process, printed: scratch.breach(folder, process, printed, view.TEMPORARY_BYTES),
        )


def abi() -> tuple[int, str]:
    """The version of the kernel's Landlock interface; below 1: there is none, and why."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    found = call(ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint32(_RULESET_VERSION))
    if found >= 1:
        return int(found), ""
    number = ctypes.get_errno()
    return 0, {errno.ENOSYS: "it is not built in", errno.EOPNOTSUPP: "it is switched off"}.get(
        number, os.strerror(number)
    )


def _handled(version: int) -> tuple[list[int], int]:
    """The words of `struct landlock_ruleset_attr` for a version of the interface, and its rights to files."""
    rights = _FIRST_RIGHTS
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        if version >= since:
            rights |= right
    words = [rights]
    if version >= 4:
        words.append(_BIND_TCP | _CONNECT_TCP)
    if version >= 6:
        words.append(_ABSTRACT_UNIX_SOCKET | _SIGNAL)
    return words, rights


def _threads_of(user: int) -> int:
    """Threads that a user has already: the limit on them (RLIMIT_NPROC) counts all of a user's."""
    count = 0
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError, StopIteration):
            if process.name.isdigit() and process.stat().st_uid == user:
                lines = (process / "status").read_text(encoding="utf-8", errors="replace").splitlines()
                count += int(next(line for line in lines if line.startswith("Threads:")).split()[1])
    return count


_PROBE = """
import ctypes, os, signal, socket, threading
libc = ctypes.CDLL(None, use_errno=True)
def fails(number):
    if number < 0:
        raise OSError(ctypes.get_errno(), "refused")
for what, call in {
    "read a file beside its folder": lambda: open(SECRET),
    "write a file beside its folder": lambda: open(SECRET, "a"),
    "make a file beside its folder": lambda: open(SECRET + "-made", "w"),
    "remove a file beside its folder": lambda: os.unlink(SECRET),
    "truncate a file beside its folder": lambda: os.truncate(SECRET, 0),
    "change a file's mode": lambda: os.chmod(SECRET, 0o777),
    "change a file's times": lambda: os.utime(SECRET),
    "move a file out of its folder": lambda: (open("moved", "w").close(), os.rename("moved", SECRET + "-moved")),
    "list the root folder": lambda: os.listdir("/"),
    "read /etc/passwd": lambda: open("/etc/passwd"),
    "list processes": lambda: os.listdir("/proc"),
    "read about its starter": lambda: open(f"/proc/{STARTER}/environ"),
    "write to /dev/shm": lambda: open("/dev/shm/headwater-probe", "w"),
    "open a socket": socket.socket,
    "open a local socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
    "make a pair of datagram sockets": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
    "start a process": os.fork,
    "run another program": lambda: os.execv("/bin/true", ["true"]),
    "leave its session": os.setsid,
    "send its starter a signal": lambda: os.kill(STARTER, 0),
    "send signals to every process": lambda: os.kill(-1, 0),
    "trace": lambda: fails(libc.ptrace(0, 0, 0, 0)),
    "make namespaces": lambda: fails(libc.unshare(0x10000000)),
    "become root": lambda: os.setuid(0),
    "outlive its starter": lambda: fails(libc.prctl(1, 0, 0, 0, 0)),
}.items():
    try:
        call()
    except OSError:
        continue
    raise AssertionError(f"it lets a program {what}")
thread = threading.Thread(target=open, args=("made", "w"))
thread.start()
thread.join()
assert sorted(os.listdir()) == ["made", "moved"], "its folder cannot be used"
"""
