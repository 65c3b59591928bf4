"""The system call filter of the sandbox, as a classic BPF program (seccomp(2), "Filter mode").

Namespaces already take away the network, the files and the other processes. The filter takes away what they leave:
new processes (`RLIMIT_NPROC` does not bind for root), sockets of families that have no namespace (AF_VSOCK, AF_ALG),
new namespaces, and kernel interfaces that no program under test needs but many kernel exploits do.
Threads stay possible. A refused call fails with EPERM, so that the program sees an ordinary OSError.
"""

import platform
import struct
import sys

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little endian
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_CLONE_THREAD = 0x00010000
_X32_BIT = 0x40000000

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_* of linux/audit.h
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
# Numbers of asm/unistd_64.h and asm-generic/unistd.h; those from 424 up are common to both.
_REFUSED = {
    "x86_64": {
        "fork": 57, "vfork": 58, "socket": 41, "ptrace": 101, "unshare": 272, "setns": 308, "mount": 165,
        "umount2": 166, "pivot_root": 155, "chroot": 161, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
        "keyctl": 250, "add_key": 248, "request_key": 249, "process_vm_readv": 310, "process_vm_writev": 311,
        "init_module": 175, "finit_module": 313, "kexec_load": 246, "open_by_handle_at": 304, "personality": 135,
        "memfd_create": 319, "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240,
    },
    "aarch64": {
        "socket": 198, "ptrace": 117, "unshare": 97, "setns": 268, "mount": 40, "umount2": 39, "pivot_root": 41,
        "chroot": 51, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "keyctl": 219, "add_key": 217,
        "request_key": 218, "process_vm_readv": 270, "process_vm_writev": 271, "init_module": 105, "finit_module": 273,
        "kexec_load": 104, "open_by_handle_at": 265, "personality": 92, "memfd_create": 279, "shmget": 194,
        "msgget": 186, "semget": 190, "mq_open": 180,
    },
}  # fmt: skip
_REFUSED_EVERYWHERE = {"io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "pidfd_open": 434}


def machine() -> str | None:
    """The machine's name when there is a filter for it, else None."""
    name = platform.machine()
    return name if name in _ARCHITECTURES and sys.byteorder == "little" else None


def program(name: str) -> bytes:
    """The filter for a machine, as an array of `struct sock_filter`.

    Args:
        name: "x86_64" or "aarch64".
    """
    refused = sorted({*_REFUSED[name].values(), *_REFUSED_EVERYWHERE.values()})
    code = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, _ARCHITECTURES[name], 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        _step(_AT_LEAST, _X32_BIT, 0, 1),
        _step(_RETURN, _KILL),
        # glibc falls back to clone, whose flags a filter can read, when clone3 does not exist.
        _step(_EQUAL, _CLONE3, 0, 1),
        _step(_RETURN, _ERRNO | _ENOSYS),
    ]
    for number in refused:
        code += [_step(_EQUAL, number, 0, 1), _step(_RETURN, _ERRNO | _EPERM)]
    code += [
        _step(_EQUAL, _CLONE[name], 1, 0),
        _step(_RETURN, _ALLOW),
        _step(_LOAD, _FIRST_ARGUMENT),
        _step(_ANY_BIT, _CLONE_THREAD, 0, 1),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _ERRNO | _EPERM),
    ]
    return b"".join(code)


def _step(code: int, value: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, jump_true, jump_false, value)
