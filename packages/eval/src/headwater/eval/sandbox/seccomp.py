"""The system call filter of the bubblewrap sandbox, and the assembler of classic BPF programs (seccomp(2)).

Namespaces already take away the network, the files and the other processes. The filter takes away what they leave:
new processes (`RLIMIT_NPROC` does not bind for root), sockets of families that have no namespace (AF_VSOCK, AF_ALG),
new namespaces, and kernel interfaces that no program under test needs but many kernel exploits do.
Threads stay possible. A refused call fails with EPERM, so that the program sees an ordinary OSError.
The filter of the sandbox without namespaces is in `allowed.py`.
"""

import platform
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from headwater.eval.sandbox.syscalls import number

_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data, little endian
ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOTTY, ENOSYS = 1, 25, 38
_X32_BIT = 0x40000000

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_* of linux/audit.h
CLONE_THREAD = 0x00010000
REFUSED = (
    "fork", "vfork", "socket", "ptrace", "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "bpf",
    "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "process_vm_readv", "process_vm_writev",
    "init_module", "finit_module", "kexec_load", "open_by_handle_at", "personality", "memfd_create", "shmget", "msgget",
    "semget", "mq_open", "io_uring_setup", "open_tree", "move_mount", "fsopen", "pidfd_open",
)  # fmt: skip


@dataclass(frozen=True)
class Only:
    """A condition on an argument of a call: half of it, after a mask, is one of some values.

    Attributes:
        argument: Which argument, from 0.
        values: What it may be.
        mask: The bits that are compared.
        high: Whether the upper 32 bits are meant. The kernel itself reads no more than the lower ones of an int.
    """

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    high: bool = False


THREADS_ONLY = Only(0, (CLONE_THREAD,), CLONE_THREAD)
"""Of clone: a thread of the same process."""


def machine() -> str | None:
    """The machine's name when there is a filter for it, else None."""
    name = platform.machine()
    return name if name in ARCHITECTURES and sys.byteorder == "little" else None


def error(number: int) -> int:
    """What a filter returns for a call that fails with an error number."""
    return _ERRNO | number


def program(name: str) -> bytes:
    """The filter for a machine, as an array of `struct sock_filter`.

    Args:
        name: "x86_64" or "aarch64".
    """
    # glibc falls back to clone, whose flags a filter can read, when clone3 does not exist.
    code = [*opening(name), *answer(name, "clone3", error(ENOSYS))]
    for call in REFUSED:
        code += answer(name, call, error(EPERM))
    return b"".join([*code, *check(name, "clone", [THREADS_ONLY]), step(_RETURN, ALLOW)])


def opening(name: str) -> list[bytes]:
    """Kills a process that makes a call of another architecture or of x32, and loads the number of the call."""
    return [
        step(_LOAD, _ARCHITECTURE),
        step(_EQUAL, ARCHITECTURES[name], 1, 0),
        step(_RETURN, _KILL),
        step(_LOAD, _NUMBER),
        step(_AT_LEAST, _X32_BIT, 0, 1),
        step(_RETURN, _KILL),
    ]


def answer(name: str, call: str, result: int) -> list[bytes]:
    """One answer to every call of that name; nothing on a machine that has no such call."""
    found = number(name, call)
    return [] if found is None else [step(_EQUAL, found, 0, 1), step(_RETURN, result)]


def check(name: str, call: str, conditions: Iterable[Only], refusal: int = _ERRNO | EPERM) -> list[bytes]:
    """Allows a call of that name when every condition holds."""
    found = number(name, call)
    if found is None:
        return []
    body: list[bytes] = []
    for only in conditions:
        body.append(step(_LOAD, _ARGUMENTS + 8 * only.argument + (4 if only.high else 0)))
        if only.mask != 0xFFFFFFFF:
            body.append(step(_AND, only.mask))
        last = len(only.values) - 1
        body += [step(_EQUAL, value, last - place + 1, 0) for place, value in enumerate(only.values)]
        body.append(step(_RETURN, refusal))
    body.append(step(_RETURN, ALLOW))
    return [step(_EQUAL, found, 0, len(body)), *body]


def closing(first_unknown: int) -> list[bytes]:
    """Refuses every other call: younger ones as if the kernel did not have them, which libraries are prepared for."""
    return [
        step(_AT_LEAST, first_unknown, 0, 1),
        step(_RETURN, _ERRNO | ENOSYS),
        step(_RETURN, _ERRNO | EPERM),
    ]


def step(code: int, value: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    """One instruction."""
    return struct.pack("<HBBI", code, jump_true, jump_false, value)
