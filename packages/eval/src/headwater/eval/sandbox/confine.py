"""The first program of the sandbox without namespaces: gives up what it may do, for good, and then runs `inside.py`.

It is sent as source text and imports nothing of this package, as `inside.py` is, because the user that it runs as need
not be able to read the package. What to give up comes through standard input, made by `landlock.py`. Whatever cannot be
given up ends it: it is closed by default.
"""

import ctypes
import json
import os
import signal
import stat
import sys
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 22, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL, _SECCOMP_MODE_FILTER = 4, 2
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_RULE_PATH_BENEATH = 1
_CAPABILITY_VERSION_3 = 0x20080522


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise SystemExit(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def _prctl(option: int, first: int = 0, second: int = 0) -> None:
    words = [ctypes.c_ulong(word) for word in (first, second, 0, 0)]
    _checked(_libc.prctl(ctypes.c_int(option), *words), f"prctl {option}")


def _end_with(parent: int) -> None:
    """Ends when the thread that started this process does."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the process that started the sandbox has ended")


def _drop_capabilities() -> None:
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())), "capset")


def _restrict_files(handled: list[int], file_rights: int, rules: list[tuple[str | int, int]]) -> None:
    """Landlock (landlock(7)): what is handled is refused, except for what a rule allows.

    Args:
        handled: The words of `struct landlock_ruleset_attr` that the kernel knows.
        file_rights: The rights that a file can have; others are for folders only.
        rules: Path or descriptor, and what is allowed there and beneath. A path that is not there needs no rule.
    """
    words = (ctypes.c_uint64 * len(handled))(*handled)
    size, none = ctypes.c_size_t(ctypes.sizeof(words)), ctypes.c_uint32(0)
    ruleset = _checked(
        _syscall(ctypes.c_long(_LANDLOCK_CREATE_RULESET), ctypes.byref(words), size, none), "landlock_create_ruleset"
    )
    for place, allowed in rules:
        try:
            opened = os.open(place, os.O_PATH | os.O_CLOEXEC) if isinstance(place, str) else os.dup(place)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            allowed &= file_rights
        rule = _PathBeneath(allowed, opened)
        kind = ctypes.c_int(_LANDLOCK_RULE_PATH_BENEATH)
        _checked(
            _syscall(ctypes.c_long(_LANDLOCK_ADD_RULE), ctypes.c_int(ruleset), kind, ctypes.byref(rule), none),
            f"landlock_add_rule {place}",
        )
        os.close(opened)
    _checked(_syscall(ctypes.c_long(_LANDLOCK_RESTRICT_SELF), ctypes.c_int(ruleset), none), "landlock_restrict_self")
    os.close(ruleset)


def _filter_calls(steps: bytes) -> None:
    """Installs a system call filter for this process, which has one thread only."""
    array = ctypes.create_string_buffer(steps, len(steps))
    program = _FilterProgram(len(steps) // 8, ctypes.addressof(array))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))


def _main() -> None:
    source, result = sys.argv[1:3]
    inside: dict[str, Any] = {"__name__": "inside"}
    exec(compile(source, "inside.py", "exec"), inside)  # noqa: S102
    read, start = inside["_read_exactly"], inside["_main"]
    settings = json.loads(read(0, int.from_bytes(read(0, 8), "big")))
    _end_with(settings["parent"])
    os.umask(0o077)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _drop_capabilities()
    _restrict_files(settings["handled"], settings["file_rights"], settings["rules"])
    _filter_calls(bytes.fromhex(settings["filter"]))
    sys.argv[:] = ["-c", result]
    start()


if __name__ == "__main__":
    _main()
