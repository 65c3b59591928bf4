"""Programs that try to get out of the sandbox, to use the machine up, or to be called right without being right."""

import os
import socket
import struct
import time

import pytest

from headwater.eval.sandbox import Sandbox, availability, seccomp

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    found = availability()
    if not found.ok:
        pytest.skip(f"no sandbox on this machine: {found.reason}")
    return Sandbox()


def test_a_program_that_comes_to_its_end_passes(sandbox):
    outcome = sandbox.run_python("print('out')\nimport sys\nprint('err', file=sys.stderr)")
    assert (outcome.status, outcome.stdout, outcome.stderr) == ("passed", "out\n", "err\n")


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("assert 1 == 2", "failed"),
        ("raise ValueError('no')", "failed"),
        ("def broken(:", "failed"),
        ("import sys\nsys.exit(0)", "failed"),
        ("raise SystemExit", "failed"),
        ("raise KeyboardInterrupt", "failed"),
        ("def f(): f()\nf()", "failed"),
        ("import os\nos._exit(0)", "incomplete"),
        ("import atexit, os\natexit.register(os._exit, 0)\nos._exit(0)", "incomplete"),
        ("import threading, os\nt = threading.Thread(target=os._exit, args=(0,))\nt.start()\nt.join()", "incomplete"),
        ("import os\nos.execv('/usr/bin/true', ['true'])", "incomplete"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "killed"),
        ("import os\nos.abort()", "killed"),
    ],
)
def test_only_the_last_line_counts_as_success(sandbox, program, status):
    assert sandbox.run_python(program).status == status


def test_a_failure_says_where(sandbox):
    outcome = sandbox.run_python("x = 1\nassert x == 2, 'x is not two'")
    assert "line 2" in outcome.stderr
    assert "x is not two" in outcome.stderr


def test_there_is_no_network(sandbox):
    server = socket.create_server(("127.0.0.1", 0))
    with server:
        port = server.getsockname()[1]
        program = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=2)"
        outcome = sandbox.run_python(program)
        assert outcome.status == "failed"
        assert "PermissionError" in outcome.stderr
        server.settimeout(0.01)
        with pytest.raises(TimeoutError):
            server.accept()
    interfaces = sandbox.run_python("print(sorted(open('/proc/net/dev').read().split(':')[0].split()[-1:]))")
    assert "lo" in interfaces.stdout


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_VSOCK"])
def test_no_socket_of_any_family_can_be_made(sandbox, family):
    outcome = sandbox.run_python(f"import socket\nsocket.socket(socket.{family}, socket.SOCK_STREAM)")
    assert "PermissionError" in outcome.stderr


def test_asyncio_still_works(sandbox):
    assert sandbox.run_python("import asyncio\nassert asyncio.run(asyncio.sleep(0, 7)) == 7").passed


@pytest.mark.parametrize(
    "path", ["/root", "/home", "/etc/shadow", "/etc/passwd", "/work", "/var", "/proc/1/root/etc/shadow"]
)
def test_files_of_the_machine_cannot_be_read(sandbox, path, tmp_path):
    program = f"import os\nprint(os.listdir({path!r}) if os.path.isdir({path!r}) else open({path!r}).read())"
    assert sandbox.run_python(program).status == "failed"


def test_a_file_beside_the_caller_cannot_be_read(sandbox, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("hidden words")
    outcome = sandbox.run_python(f"print(open({str(secret)!r}).read())")
    assert outcome.status == "failed"
    assert "hidden words" not in outcome.stdout


def test_the_environment_does_not_reach_the_program(sandbox, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_do_not_show")
    outcome = sandbox.run_python(
        "import os, glob\nprint(dict(os.environ))\n"
        "for path in glob.glob('/proc/*/environ'):\n"
        "    try:\n        print(open(path, 'rb').read())\n    except OSError:\n        pass"
    )
    assert outcome.passed
    assert "hf_do_not_show" not in outcome.stdout + outcome.stderr
    assert "HF_TOKEN" not in outcome.stdout


def test_open_files_of_the_caller_do_not_reach_the_program(sandbox, tmp_path):
    with open(tmp_path / "open.txt", "w+") as stream:
        os.set_inheritable(stream.fileno(), True)
        outcome = sandbox.run_python(
            "import os\nfor path in (f'/proc/self/fd/{n}' for n in range(3, 60)):\n"
            "    print(os.readlink(path) if os.path.islink(path) else '')"
        )
    assert outcome.passed
    assert "open.txt" not in outcome.stdout


def test_nothing_but_the_temporary_folder_can_be_written(sandbox):
    outcome = sandbox.run_python(
        "import os\nopen('/tmp/fine', 'w').write('x')\n"
        "for folder in ('/', '/usr', '/usr/lib', '/python', '/dev', '/dev/shm', '/etc', '/proc'):\n"
        "    try:\n        open(os.path.join(folder, 'made'), 'w')\n"
        "    except OSError:\n        continue\n"
        "    raise AssertionError(folder)"
    )
    assert outcome.passed, outcome.stderr


def test_nothing_is_left_for_the_next_program(sandbox):
    assert sandbox.run_python("open('/tmp/note', 'w').write('x')").passed
    assert "FileNotFoundError" in sandbox.run_python("open('/tmp/note')").stderr


@pytest.mark.parametrize(
    "program",
    [
        "import os\nos.fork()",
        "import os\nwhile True:\n    os.fork()",
        "import subprocess\nsubprocess.run(['/usr/bin/true'])",
        "import multiprocessing\nmultiprocessing.Process(target=print).start()",
        "import os\nos.posix_spawn('/usr/bin/true', ['true'], {})",
    ],
)
def test_no_process_can_be_started(sandbox, program):
    outcome = sandbox.run_python(program)
    assert outcome.status == "failed"
    assert "Operation not permitted" in outcome.stderr


def test_threads_are_limited_and_do_not_outlive_the_program(sandbox):
    few = "import threading\nt = threading.Thread(target=print, args=('hello',))\nt.start()\nt.join()"
    assert sandbox.run_python(few).stdout == "hello\n"
    bomb = (
        "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    )
    assert sandbox.run_python(bomb, timeout_seconds=20).status in ("failed", "memory")
    left = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()"
    assert sandbox.run_python(left, timeout_seconds=20).passed


@pytest.mark.parametrize(
    "program", ["x = bytearray(10**10)", "x = []\nwhile True:\n    x.append(' ' * 10**6)", "x = 'a' * 10**12"]
)
def test_memory_is_limited(sandbox, program):
    outcome = sandbox.run_python(program)
    assert outcome.status == "memory", outcome


def test_memory_within_the_limit_is_given(sandbox):
    assert sandbox.run_python("x = bytearray(200 * 1024 * 1024)").passed
    assert sandbox.run_python("x = bytearray(200 * 1024 * 1024)", memory_bytes=128 * 1024 * 1024).status == "memory"


def test_the_disk_cannot_be_filled(sandbox):
    one = sandbox.run_python("stream = open('/tmp/big', 'wb')\nwhile True:\n    stream.write(bytes(10**6))")
    assert one.status == "failed"
    assert "File too large" in one.stderr
    many = sandbox.run_python(
        "n = 0\nwhile True:\n    n += 1\n"
        "    with open(f'/tmp/{n}', 'wb') as stream:\n        stream.write(bytes(10**6))"
    )
    assert many.status == "failed"
    assert "No space left" in many.stderr


def test_endless_loops_end(sandbox):
    started = time.monotonic()
    assert sandbox.run_python("while True: pass", timeout_seconds=60, cpu_seconds=1).status == "timeout"
    ignoring = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    assert sandbox.run_python(ignoring, timeout_seconds=60, cpu_seconds=1).status in ("timeout", "killed")
    assert sandbox.run_python("import time\ntime.sleep(600)", timeout_seconds=1).status == "timeout"
    assert time.monotonic() - started < 60


def test_endless_output_is_cut_to_its_end(sandbox):
    outcome = sandbox.run_python("for i in range(200_000): print('line', i)", timeout_seconds=30)
    assert outcome.passed
    assert len(outcome.stdout) <= 8192
    assert outcome.stdout.endswith("line 199999\n")
    assert sandbox.run_python("while True: print('x' * 1000)", timeout_seconds=2, cpu_seconds=1).status == "timeout"


def test_output_that_is_not_text_is_told_anyway(sandbox):
    outcome = sandbox.run_python("import sys\nsys.stdout.buffer.write(b'\\xff\\xfe ok')")
    assert outcome.passed
    assert outcome.stdout.endswith(" ok")


SEARCH = """
import gc, os, sys
found = [arg.encode() for arg in sys.argv] + [repr(sorted(os.environ.items())).encode()]
for name in ("cmdline", "environ", "maps"):
    found.append(open(f"/proc/self/{name}", "rb").read())
def collect(value, depth=0):
    if isinstance(value, str): found.append(value.encode("utf-8", "replace"))
    elif isinstance(value, (bytes, bytearray)): found.append(bytes(value))
    elif isinstance(value, dict) and depth < 3:
        for pair in list(value.items()): collect(pair, depth + 1)
    elif isinstance(value, (list, tuple)) and depth < 3:
        for part in list(value): collect(part, depth + 1)
"""
FRAMES = """
frame = sys._getframe()
while frame:
    collect(frame.f_locals)
    frame = frame.f_back
for value in gc.get_objects():
    if isinstance(value, (dict, list, tuple)): collect(value, 2)
"""
DESCRIPTORS = """
for number in range(3, 64):
    try:
        os.set_blocking(number, False)
        found.append(os.read(number, 4096))
    except OSError: pass
"""
WRITE = """
for piece in found:
    for part in (piece, piece[-32:], piece[:32]):
        try: part = part if len(part) < 4096 else part[:4096]
        except TypeError: continue
        for number in list(range(3, 64)):
            try: os.write(number, part)
            except OSError: pass
    try:
        unhexed = bytes.fromhex(piece.decode())
        for number in range(3, 64):
            try: os.write(number, unhexed)
            except OSError: pass
    except ValueError: pass
print(len(found), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("means", [FRAMES, DESCRIPTORS, FRAMES + DESCRIPTORS])
def test_printing_everything_that_can_be_found_is_no_success(sandbox, means):
    outcome = sandbox.run_python(SEARCH + means + WRITE, timeout_seconds=60)
    assert outcome.status == "incomplete", outcome
    assert int(outcome.stdout.split()[-1]) >= 3


def test_writing_to_every_open_file_before_the_end_is_no_success(sandbox):
    outcome = sandbox.run_python(
        "import os\nfor n in range(3, 64):\n    try: os.write(n, b'passed' * 20)\n    except OSError: pass"
    )
    assert not outcome.passed


@pytest.mark.parametrize("target", ["os.getppid()", "1", "-1", "0"])
def test_killing_the_parent_is_no_success_and_hurts_nobody(sandbox, target):
    outcome = sandbox.run_python(f"import os, signal\nos.kill({target}, signal.SIGKILL)\nos._exit(0)")
    assert not outcome.passed
    assert sandbox.run_python("print('still here')").stdout == "still here\n"


def test_kernel_interfaces_are_closed(sandbox):
    outcome = sandbox.run_python(
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "assert libc.unshare(0x10000000) == -1 and ctypes.get_errno() == 1\n"
        "assert libc.ptrace(0, 0, 0, 0) == -1 and ctypes.get_errno() == 1\n"
        "assert libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == -1 and ctypes.get_errno() == 1\n"
        "assert libc.chroot(b'/tmp') == -1 and ctypes.get_errno() == 1\n"
        "assert libc.setuid(0) == -1\n"
        "assert '\\nCapEff:\\t0000000000000000\\n' in open('/proc/self/status').read()\n"
        "assert '\\nNoNewPrivs:\\t1\\n' in open('/proc/self/status').read()"
    )
    assert outcome.passed, outcome.stderr


def test_the_order_of_sets_is_the_same_every_time(sandbox):
    program = "print(list({'one', 'two', 'three', 'four', 'five', 'six', 'seven'}))"
    assert len({sandbox.run_python(program).stdout for _ in range(3)}) == 1


def test_without_bubblewrap_nothing_runs_and_the_reason_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    found = Sandbox().probe()
    assert not found.ok
    assert "apt-get install bubblewrap" in found.reason
    with pytest.raises(Exception, match="sandbox only"):
        Sandbox().run_python("print(1)")


def _fake(folder, text: str) -> str:
    path = folder / "bwrap"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


VERSION = '[ "$1" = --version ] && echo bubblewrap 0.9.0 && exit 0\n'
# Ignores its options and runs what follows them in the open: must not be taken for a sandbox.
OPEN = VERSION + 'while [ "$1" != -- ]; do shift; done\nshift 2\nexec python3 "$@"'


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo bubblewrap 0.6.1", "too old"),
        ("exit 3", "too old"),
        (VERSION + "echo setting up uid map: Permission denied >&2\nexit 1", "Permission denied"),
        (VERSION + "exit 0", "cannot make a closed sandbox"),
        (OPEN, "cannot make a closed sandbox"),
    ],
)
def test_a_bubblewrap_that_does_not_close_is_refused(tmp_path, script, reason):
    tmp_path.chmod(0o755)
    found = Sandbox(_fake(tmp_path, script)).probe()
    assert not found.ok
    assert reason in found.reason


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_jump_of_the_filter_lands_inside_it(machine):
    program = seccomp.program(machine)
    steps = list(struct.iter_unpack("<HBBI", program))
    assert steps[-1][0] == 0x06
    for place, (code, jump_true, jump_false, _) in enumerate(steps):
        if code & 0x07 == 0x05:
            assert place + 1 + max(jump_true, jump_false) < len(steps)


def _filter(machine: str, number: int, argument: int = 0, architecture: int | None = None) -> int:
    """What the filter returns for a system call: a small interpreter of the few instructions that it uses."""
    words = {0: number, 4: architecture or seccomp._ARCHITECTURES[machine], 16: argument}
    steps = list(struct.iter_unpack("<HBBI", seccomp.program(machine)))
    place = value = 0
    while True:
        code, jump_true, jump_false, operand = steps[place]
        place += 1
        if code == 0x20:
            value = words[operand]
        elif code == 0x06:
            return operand
        else:
            hit = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[code]
            place += jump_true if hit else jump_false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_decides_as_meant(machine):
    allow, deny, kill = 0x7FFF0000, 0x00050001, 0x80000000
    clone = seccomp._CLONE[machine]
    assert _filter(machine, {"x86_64": 1, "aarch64": 64}[machine]) == allow  # write
    assert _filter(machine, clone, 0x00010000 | 0x100) == allow
    assert _filter(machine, clone, 17) == deny  # SIGCHLD: what fork uses
    assert _filter(machine, 435) == 0x00050000 | 38
    assert _filter(machine, 425) == deny
    assert _filter(machine, 1, architecture=0x40000003) == kill  # a 32-bit call
    assert _filter(machine, 0x40000001) == kill  # x32
    for number in seccomp._REFUSED[machine].values():
        assert _filter(machine, number) == deny
