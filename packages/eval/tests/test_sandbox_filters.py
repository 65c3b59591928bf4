"""The system call filters, decided by a small interpreter of the instructions that they use."""

import re
import struct
from pathlib import Path

import pytest

from headwater.eval.sandbox import allowed, seccomp
from headwater.eval.sandbox.syscalls import NUMBERS, number

MACHINES = ("x86_64", "aarch64")
ALLOW, DENY, KILL, UNKNOWN, NO_TERMINAL = 0x7FFF0000, 0x00050001, 0x80000000, 0x00050000 | 38, 0x00050000 | 25
PROCESS = 4321
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def programs(machine):
    return {"namespaces": seccomp.program(machine), "closed": allowed.program(machine, PROCESS)}


def decide(program: bytes, machine: str, call: str | int, *arguments: int, architecture: int | None = None) -> int:
    """What a filter returns for a system call."""
    wanted = number(machine, call) if isinstance(call, str) else call
    assert wanted is not None
    words = {0: wanted, 4: architecture or seccomp.ARCHITECTURES[machine]}
    for place, argument in enumerate((*arguments, *[0] * (6 - len(arguments)))):
        words[16 + 8 * place], words[20 + 8 * place] = argument & 0xFFFFFFFF, argument >> 32 & 0xFFFFFFFF
    steps = list(struct.iter_unpack("<HBBI", program))
    place = value = 0
    while True:
        code, jump_true, jump_false, operand = steps[place]
        place += 1
        if code == 0x20:
            value = words[operand]
        elif code == 0x54:
            value &= operand
        elif code == 0x06:
            return operand
        else:
            hit = {0x15: value == operand, 0x35: value >= operand}[code]
            place += jump_true if hit else jump_false


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_the_kernels_headers(machine):
    path = HEADERS[machine]
    if not path.is_file():
        pytest.skip(f"there is no {path} (Debian: apt-get install linux-libc-dev)")
    lines = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", path.read_text(), re.MULTILINE)
    known = {name: int(found) for name, found in lines}
    for name in NUMBERS:
        assert number(machine, name) == known.get({"newfstatat": "fstatat"}.get(name, name), known.get(name)), name


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kind", ["namespaces", "closed"])
def test_every_jump_of_a_filter_lands_inside_it(machine, kind):
    steps = list(struct.iter_unpack("<HBBI", programs(machine)[kind]))
    assert steps[-1][0] == 0x06
    assert len(steps) <= 4096
    for place, (code, jump_true, jump_false, _) in enumerate(steps):
        if code & 0x07 == 0x05:
            assert place + 1 + max(jump_true, jump_false) < len(steps)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kind", ["namespaces", "closed"])
def test_both_filters_decide_alike_where_it_matters(machine, kind):
    program = programs(machine)[kind]
    thread = 0x3D0F00  # what glibc asks for
    assert decide(program, machine, "write") == ALLOW
    assert decide(program, machine, "clone", thread) == ALLOW
    assert decide(program, machine, "clone", 17) == DENY  # SIGCHLD: what fork uses
    assert decide(program, machine, "clone3") == UNKNOWN
    assert decide(program, machine, 1, architecture=0x40000003) == KILL  # a 32-bit call
    assert decide(program, machine, 0x40000001) == KILL  # x32
    for name in seccomp.REFUSED:
        if number(machine, name) is not None:
            assert decide(program, machine, name) in (DENY, UNKNOWN), name


@pytest.mark.parametrize("machine", MACHINES)
def test_the_closed_filter_allows_nothing_that_it_does_not_name(machine):
    program = allowed.program(machine, PROCESS)
    named = {number(machine, name) for name in NUMBERS}
    for call in range(600):
        if call not in named:
            assert decide(program, machine, call) == (DENY if call < 424 else UNKNOWN)
    execve = {"x86_64": 59, "aarch64": 221}[machine]
    assert decide(program, machine, execve) == DENY


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("call", "arguments", "result"),
    [
        ("kill", (PROCESS, 9), ALLOW),
        ("kill", (PROCESS + 1, 9), DENY),
        ("kill", (0, 9), DENY),
        ("kill", (2**64 - 1, 9), DENY),
        ("kill", (2**64 - PROCESS, 9), DENY),
        ("tgkill", (PROCESS, 77, 6), ALLOW),
        ("tgkill", (1, 1, 9), DENY),
        ("prlimit64", (0, 7), ALLOW),
        ("prlimit64", (PROCESS, 7), ALLOW),
        ("prlimit64", (1, 7), DENY),
        ("sched_getaffinity", (1,), DENY),
        ("clone", (0x3D0F00 | 0x10000000,), DENY),  # CLONE_NEWUSER
        ("clone", (0x3D0F00 | 0x8000,), DENY),  # CLONE_PARENT
        ("fcntl", (3, 3), ALLOW),
        ("fcntl", (3, 8, 1), DENY),  # F_SETOWN
        ("fcntl", (3, 10), DENY),  # F_SETSIG
        ("fcntl", (3, 15), DENY),  # F_SETOWN_EX
        ("prctl", (15,), ALLOW),
        ("prctl", (1, 0), DENY),  # PR_SET_PDEATHSIG
        ("prctl", (4, 1), DENY),  # PR_SET_DUMPABLE
        ("prctl", (0x59616D61, 1), DENY),  # PR_SET_PTRACER
        ("mmap", (0, 4096, 7, 0x22, 2**64 - 1), ALLOW),
        ("mmap", (0, 4096, 5, 0x802, 3), ALLOW),
        ("mmap", (0, 4096, 3, 0x01, 3), DENY),  # MAP_SHARED
        ("mmap", (0, 4096, 3, 0x03, 3), DENY),  # MAP_SHARED_VALIDATE
        ("ioctl", (1, 0x5401), ALLOW),  # TCGETS
        ("ioctl", (1, 0x5412), NO_TERMINAL),  # TIOCSTI
        ("ioctl", (1, 0x40049409), NO_TERMINAL),  # FICLONE
        ("socketpair", (1, 1), ALLOW),
        ("socketpair", (1, 1 | 0o2000000), ALLOW),  # SOCK_CLOEXEC
        ("socketpair", (1, 2), DENY),
        ("socketpair", (1, 5), DENY),
        ("socketpair", (2, 1), DENY),
        ("sendto", (3, 4, 5, 0, 0, 0), ALLOW),
        ("sendto", (3, 4, 5, 0, 0x7FFF1234, 16), DENY),
        ("sendto", (3, 4, 5, 0, 0x7FFF00000000, 16), DENY),
    ],
)
def test_the_closed_filter_looks_at_arguments(machine, call, arguments, result):
    assert decide(allowed.program(machine, PROCESS), machine, call, *arguments) == result
