"""Programs that try to get out of a sandbox, to use the machine up, or to be called right without being right.

Every one of them meets every backend (the `sandbox` fixture).
"""

import os
import resource
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from headwater.eval.sandbox import scratch, seccomp, syscalls

pytestmark = pytest.mark.slow

NOBODY = 65534


@pytest.fixture
def secret():
    """A file that every user of the machine may read and write, in a folder that every user may write into."""
    with tempfile.TemporaryDirectory(prefix="secret-", dir="/tmp") as folder:
        path = Path(folder, "secret.txt")
        path.write_text("hidden words")
        path.chmod(0o666)
        Path(folder).chmod(0o777)
        yield path
        assert path.read_text() == "hidden words"
        assert os.listdir(folder) == ["secret.txt"]


@pytest.fixture
def temporary(monkeypatch):
    """A temporary folder for this test alone, which every user may reach."""
    with tempfile.TemporaryDirectory(prefix="temporary-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def neighbour():
    """A process of the user that programs run as."""
    same = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    environment = {"NEIGHBOUR": "hidden words"}
    with subprocess.Popen(["/bin/sleep", "600"], env=environment, cwd="/", start_new_session=True, **same) as process:
        yield process.pid
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        alive = process.poll() is None
        process.kill()
    assert alive and state == "S"


def refused(*calls: str, before: str = "") -> str:
    """A program that comes to its end when every one of some calls fails."""
    lines = [f"import ctypes, os, resource, signal, socket\n{before}", LIBC]
    for call in calls:
        lines.append(f"try:\n    {call}\nexcept (OSError, ValueError): pass\nelse: raise AssertionError({call!r})")
    return "\n".join(lines)


LIBC = """
libc = ctypes.CDLL(None, use_errno=True)
def call(function, *words):
    if function(*words) < 0:
        raise OSError(ctypes.get_errno(), "refused")
def syscall(number, *words):
    call(libc.syscall, ctypes.c_long(number), *[ctypes.c_long(word) for word in words])
"""


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
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "killed"),
        ("import os\nos.abort()", "killed"),
    ],
)
def test_only_the_last_line_counts_as_success(sandbox, program, status):
    assert sandbox.run_python(program).status == status


@pytest.mark.parametrize(
    "program",
    [
        "import os\nos.execv('/usr/bin/true', ['true'])",
        "import os, sys\nos.dup2(2, 1)\nos.close(2)\nos._exit(0)",
        "import os\nos.closerange(0, 64)\nos._exit(0)",
        "import os\nfor n in range(3, 64):\n    try: os.ftruncate(n, 0)\n    except OSError: pass\nos._exit(0)",
        "print('passed')\nprint('passed', flush=True)\nraise SystemExit(0)",
        "import sys\nsys.stdout = sys.stderr = None\nsys.exit(0)",
        "import sys\nsys.excepthook = lambda *_: None\nraise ValueError",
        "import atexit, os\natexit.register(lambda: os._exit(0))\nraise ValueError",
        "import os\nclass Late:\n    def __del__(self): os._exit(0)\nx = Late()\nraise ValueError",
        "import os, signal\nsignal.signal(signal.SIGALRM, lambda *_: os._exit(0))\nsignal.alarm(1)\nwhile True: pass",
        "import builtins, os\nbuiltins.compile = builtins.exec = None\nos.read = lambda *_: b''\nassert False",
        "import os\nos._exit = lambda code: None\nassert False",
        "import ctypes\nctypes.string_at(0)",
        "import os, traceback\ntraceback.print_exception = lambda *_, **__: os._exit(0)\nraise ValueError",
        "import os, sys\nclass Out:\n    def flush(self): os._exit(0)\nsys.stdout = Out()",
        "import os\nclass E(Exception):\n    __traceback__ = property(lambda _: os._exit(0))\nraise E",
        "class E(Exception):\n    def __str__(self): raise SystemExit(0)\nraise E",
        "import hmac\nhmac.digest = lambda *_: bytes(32)\nassert False",
        "passed = True\x00",
        "passed = '\ud800'",
        "import sys\nsys.settrace(lambda *_: None)\nsys.setrecursionlimit(10**9)\ndef f(): return f()\nf()",
    ],
)
def test_no_other_end_is_success(sandbox, program):
    assert not sandbox.run_python(program).passed


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


def test_no_datagram_leaves(sandbox, secret):
    path, abstract = str(secret.parent / "socket"), f"\0headwater-{os.getpid()}"
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as named,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hidden,
    ):
        udp.bind(("127.0.0.1", 0))
        named.bind(path)
        os.chmod(path, 0o777)
        hidden.bind(abstract)
        tries = [
            f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'out', {udp.getsockname()!r})",
            *(f"socket.socket(socket.AF_UNIX, {kind}).connect({to!r})" for to in (path, abstract)
              for kind in ("socket.SOCK_STREAM", "socket.SOCK_DGRAM")),
            *(f"socket.socketpair(socket.AF_UNIX, {kind})[0].sendto(b'out', {to!r})" for to in (path, abstract)
              for kind in ("socket.SOCK_STREAM", "socket.SOCK_DGRAM", "socket.SOCK_SEQPACKET")),
            *(f"socket.socketpair()[0].sendmsg([b'out'], [], 0, {to!r})" for to in (path, abstract)),
        ]  # fmt: skip
        outcome = sandbox.run_python(refused(*tries))
        assert outcome.passed, outcome.stderr
        for receiver in (udp, named, hidden):
            receiver.settimeout(0.01)
            with pytest.raises(TimeoutError):
                receiver.recv(10)
        os.unlink(path)


def test_no_local_server_can_be_made(sandbox):
    name = f"\0headwater-server-{os.getpid()}"
    program = refused(f"ends[0].bind({name!r})\n    ends[0].listen()", before="ends = socket.socketpair()")
    outcome = sandbox.run_python(program)
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(name)
    assert outcome.passed or sandbox.name == "bubblewrap"  # which has a network of its own for such names


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


@pytest.mark.parametrize(
    "way",
    [
        "open(SECRET)",
        "os.listdir(os.path.dirname(SECRET))",
        "os.symlink(SECRET, 'link')\n    open('link')",
        "os.symlink('/', 'root')\n    open('root' + SECRET)",
        "os.link(SECRET, 'hard')\n    open('hard')",
        "os.rename(SECRET, 'moved')",
        "os.chdir(os.path.dirname(SECRET))\n    open('secret.txt')",
        "open('../' * 20 + SECRET)",
        "os.open('secret.txt', os.O_RDONLY, dir_fd=os.open(os.path.dirname(SECRET), os.O_PATH))",
        "fd = os.open(SECRET, os.O_PATH)\n    os.read(fd, 10)",
        "fd = os.open(SECRET, os.O_PATH)\n    open(f'/proc/self/fd/{fd}')",
        "open('/proc/self/root' + SECRET)",
        "open(f'/proc/{STARTER}/root' + SECRET)",
        "open(f'/proc/{STARTER}/cwd/x')",
        "mapped = __import__('mmap').mmap(os.open(SECRET, os.O_RDWR), 4)",
    ],
)
def test_a_file_beside_the_caller_cannot_be_read(sandbox, secret, way):
    names = f"SECRET, STARTER = {str(secret)!r}, {os.getpid()}"
    outcome = sandbox.run_python(refused(way, before=names))
    assert outcome.passed, outcome.stderr


def test_no_open_folder_leads_out(sandbox):
    outcome = sandbox.run_python(
        refused(*(f"os.listdir(f'/proc/self/fd/{n}/{up}')" for n in range(3, 10) for up in ("..", "../..", "../../..")))
    )
    assert outcome.passed, outcome.stderr


@pytest.mark.parametrize(
    "way",
    [
        "open(SECRET, 'a')",
        "open(SECRET, 'w')",
        "os.truncate(SECRET, 0)",
        "os.unlink(SECRET)",
        "os.chmod(SECRET, 0)",
        "os.chmod(os.path.dirname(SECRET), 0)",
        "os.chown(SECRET, os.getuid(), os.getgid())",
        "os.utime(SECRET, (0, 0))",
        "os.setxattr(SECRET, 'user.note', b'x')",
        "open(SECRET + '2', 'x')",
        "os.mkdir(SECRET + '2')",
        "os.symlink('x', SECRET + '2')",
        "os.mkfifo(SECRET + '2')",
        "os.link('own', SECRET + '2')",
        "os.rename('own', SECRET)",
        "os.replace('own', SECRET + '2')",
        "os.symlink(SECRET + '2', 'link')\n    open('link', 'w')",
        "os.open(os.path.dirname(SECRET), os.O_TMPFILE | os.O_RDWR)",
        "syscall(437, -100, id(SECRET), 0, 0)",
    ],
)
def test_a_file_beside_the_caller_cannot_be_changed(sandbox, secret, way):
    before = f"SECRET = {str(secret)!r}\nopen('own', 'w').close()"
    about = [os.stat(path) for path in (secret, secret.parent)]
    outcome = sandbox.run_python(refused(way, before=before))
    assert outcome.passed, outcome.stderr
    for old, path in zip(about, (secret, secret.parent), strict=True):
        now = os.stat(path)
        assert (now.st_mode, now.st_mtime, now.st_uid) == (old.st_mode, old.st_mtime, old.st_uid)


def test_a_link_that_changes_while_it_is_followed_leads_nowhere(sandbox, secret):
    outcome = sandbox.run_python(
        f"""
import os, threading
open("own", "w").write("fine")
os.symlink("own", "link")
stop = False
def change():
    count = 0
    while not stop:
        count += 1
        os.symlink({str(secret)!r} if count % 2 else "own", "next")
        os.replace("next", "link")
thread = threading.Thread(target=change)
thread.start()
seen = set()
for _ in range(20000):
    try: seen.add(open("link").read())
    except OSError as error: seen.add(type(error).__name__)
stop = True
thread.join()
print(sorted(seen))
""",
        timeout_seconds=60,
    )
    assert outcome.passed, outcome.stderr
    assert "hidden" not in outcome.stdout
    assert "fine" in outcome.stdout and "Error" in outcome.stdout


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
        stream.write("words")
        stream.flush()
        os.set_inheritable(stream.fileno(), True)
        outcome = sandbox.run_python(
            "import os\nfor path in (f'/proc/self/fd/{n}' for n in range(3, 60)):\n"
            "    print(os.readlink(path) if os.path.islink(path) else '')\n"
            "for n in range(3, 60):\n    try: print(os.pread(n, 100, 0))\n    except OSError: pass"
        )
    assert outcome.passed
    assert "open.txt" not in outcome.stdout and "words" not in outcome.stdout


def test_nothing_but_the_temporary_folder_can_be_written(sandbox):
    outcome = sandbox.run_python(
        "import os\nopen('fine', 'w').write('x')\n"
        "for folder in ('/', '/var/tmp', '/run', '/usr', '/usr/lib', '/python', '/dev', '/dev/shm', '/etc', '/proc'):\n"
        "    try:\n        open(os.path.join(folder, 'made'), 'w')\n"
        "    except OSError:\n        continue\n"
        "    raise AssertionError(folder)"
    )
    assert outcome.passed, outcome.stderr


def test_nothing_is_left_for_the_next_program(sandbox):
    assert sandbox.run_python("open('note', 'w').write('x')").passed
    assert "FileNotFoundError" in sandbox.run_python("open('note')").stderr


@pytest.mark.parametrize(
    "litter",
    [
        "import os\nfor n in range(31):\n    os.mkdir('d')\n    os.chdir('d')",
        "import os\nos.mkdir('closed', 0)\nos.mkdir('deep')\nos.mkdir('deep/closed', 0)",
        "import os\nos.umask(0o777)\nopen('file', 'w').close()\nos.mkdir('folder')",
        "import os\nos.symlink('/', 'root')\nos.symlink('..', 'up')\nos.symlink('loop', 'loop')",
        "import os\nfor n in range(31):\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)",
    ],
)
def test_whatever_it_made_is_removed(sandbox, temporary, litter):
    outcome = sandbox.run_python(litter)
    assert outcome.passed, outcome.stderr
    assert not list(temporary.iterdir())


def test_shared_memory_is_closed(sandbox):
    outcome = sandbox.run_python(
        refused(
            "open('/dev/shm/left', 'w')",
            "call(libc.shm_open, b'/left', 0o102, 0o600)",
            "call(libc.shmget, 77, 4096, 0o1600)",
            "call(libc.msgget, 77, 0o1600)",
            "call(libc.semget, 77, 1, 0o1600)",
            "__import__('multiprocessing').Lock()",
            "__import__('multiprocessing.shared_memory').shared_memory.SharedMemory(create=True, size=10)",
            "os.memfd_create('left')",
        )
    )
    assert outcome.passed, outcome.stderr
    assert "left" not in os.listdir("/dev/shm")


@pytest.mark.parametrize(
    "program",
    [
        "import os\nos.fork()",
        "import os\nwhile True:\n    os.fork()",
        "import subprocess\nsubprocess.run(['/usr/bin/true'])",
        "import multiprocessing\nmultiprocessing.Process(target=print).start()",
        "import os\nos.posix_spawn('/usr/bin/true', ['true'], {})",
        "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        __import__('time').sleep(600)",
    ],
)
def test_no_process_can_be_started(sandbox, program):
    outcome = sandbox.run_python(program)
    assert outcome.status == "failed"
    assert "Operation not permitted" in outcome.stderr


@pytest.mark.skipif(seccomp.machine() != "x86_64", reason="numbers of x86_64")
@pytest.mark.parametrize("way", ["syscall(56, 17, 0, 0, 0, 0)", "syscall(57)", "syscall(58)", "syscall(435, 0, 0)"])
def test_no_process_can_be_started_by_number(sandbox, way):
    outcome = sandbox.run_python(refused(way))
    assert outcome.passed, outcome.stderr


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
    "program",
    [
        "x = bytearray(10**10)", "x = []\nwhile True:\n    x.append(' ' * 10**6)", "x = 'a' * 10**12",
        "x = [0]\nwhile True:\n    x += x", "x = list(range(10**9))",
    ],
)  # fmt: skip
def test_memory_is_limited(sandbox, program):
    outcome = sandbox.run_python(program)
    assert outcome.status == "memory", outcome


def test_memory_within_the_limit_is_given(sandbox):
    assert sandbox.run_python("x = bytearray(200 * 1024 * 1024)").passed
    assert sandbox.run_python("x = bytearray(200 * 1024 * 1024)", memory_bytes=128 * 1024 * 1024).status == "memory"


def test_memory_outside_the_heap_is_limited_too(sandbox):
    held = "import mmap\nx = []\nwhile True:\n    m = mmap.mmap(-1, 10**7)\n    m.write(bytes(10**7))\n    x.append(m)"
    assert sandbox.run_python(held).status in ("failed", "memory")
    small = (
        "import threading, time\nthreading.stack_size(65536)\n"
        "while True:\n    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    )
    outcome = sandbox.run_python(small, timeout_seconds=10)
    assert not outcome.passed  # a thread that found no memory may leave the first one waiting


def test_limits_cannot_be_raised(sandbox):
    kinds = ("CPU", "AS", "FSIZE", "NPROC", "NOFILE", "CORE")
    outcome = sandbox.run_python(
        refused(*(f"resource.setrlimit(resource.RLIMIT_{kind}, (2**40, 2**40))" for kind in kinds))
    )
    assert outcome.passed, outcome.stderr


def test_the_disk_cannot_be_filled(sandbox):
    one = sandbox.run_python("stream = open('big', 'wb')\nwhile True:\n    stream.write(bytes(10**6))")
    assert one.status == "failed"
    assert "File too large" in one.stderr
    large = sandbox.run_python("import os\nos.truncate(os.open('big', os.O_CREAT | os.O_RDWR), 10**12)")
    assert large.status in ("failed", "killed")


@pytest.mark.parametrize(
    "body",
    [
        "n += 1\n    with open(str(n), 'wb') as stream: stream.write(bytes(10**6))",
        "n += 1\n    os.mkdir(str(n))",
        "os.mkdir('d')\n    os.chdir('d')\n    open('file', 'wb').write(bytes(5 * 10**6))",
    ],
)
def test_the_disk_cannot_be_filled_with_many_files(sandbox, body):
    program = f"import os\nn = 0\nwhile n < 50_000:\n    {body}"
    outcome = sandbox.run_python(program, timeout_seconds=20)
    if "mkdir(str(n))" in body and sandbox.name == "bubblewrap":
        return  # its folder is memory of its own, which ends with it
    assert outcome.status in ("failed", "killed"), outcome
    told = outcome.stderr.strip().splitlines()[-1]
    assert any(words in told for words in ("No space left", "temporary folder", "wrote more than")), outcome


@pytest.mark.parametrize("place", ["/tmp", "/dev/shm"])  # on a disk or in memory
@pytest.mark.parametrize("kind", ["MAP_SHARED", "MAP_PRIVATE"])
def test_endless_writing_into_deleted_files_ends(sandbox, kind, place, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", place)
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    program = f"""
import mmap, os
kept = []
while True:
    fd = os.open("file", os.O_CREAT | os.O_RDWR)
    os.unlink("file")
    os.write(fd, bytes(7 * 10**6))
    if len(kept) % 10 == 9: print(len(kept), os.statvfs(".").f_bavail, flush=True)
    kept.append(mmap.mmap(fd, 4096, mmap.{kind}, mmap.PROT_READ))
    os.close(fd)
"""
    outcome = sandbox.run_python(program, timeout_seconds=20, cpu_seconds=5)
    assert outcome.status in ("failed", "killed"), outcome
    rounds = len(outcome.stdout.splitlines()) * 10
    assert rounds < 200, outcome
    assert os.statvfs(place).f_bavail * os.statvfs(place).f_frsize > free - 10**9


def test_endless_loops_end(sandbox):
    started = time.monotonic()
    assert sandbox.run_python("while True: pass", timeout_seconds=60, cpu_seconds=1).status == "timeout"
    ignoring = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    assert sandbox.run_python(ignoring, timeout_seconds=60, cpu_seconds=1).status in ("timeout", "killed")
    assert sandbox.run_python("import time\ntime.sleep(600)", timeout_seconds=1).status == "timeout"
    stopped = "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"
    assert sandbox.run_python(stopped, timeout_seconds=2).status in ("timeout", "killed")
    deaf = (
        "import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
        "for n in signal.valid_signals():\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: time.sleep(60)"
    )
    assert sandbox.run_python(deaf, timeout_seconds=2).status == "timeout"
    assert time.monotonic() - started < 60


def test_endless_output_is_cut_to_its_end(sandbox):
    outcome = sandbox.run_python("for i in range(200_000): print('line', i)", timeout_seconds=30)
    assert outcome.passed
    assert len(outcome.stdout) <= 8192
    assert outcome.stdout.endswith("line 199999\n")
    for flood in ("while True: print('x' * 1000)", "import os\nwhile True: os.write(2, bytes(65536))"):
        outcome = sandbox.run_python(flood, timeout_seconds=20, cpu_seconds=1)
        assert outcome.status == "timeout"
        assert len(outcome.stdout) + len(outcome.stderr) <= 8192


def test_output_that_is_not_text_is_told_anyway(sandbox):
    outcome = sandbox.run_python("import sys\nsys.stdout.buffer.write(b'\\xff\\xfe ok')")
    assert outcome.passed
    assert outcome.stdout.endswith(" ok")


SEARCH = """
import gc, os, sys
found = [arg.encode() for arg in sys.argv] + [repr(sorted(os.environ.items())).encode()]
for name in ("cmdline", "environ", "maps"):
    try: found.append(open(f"/proc/self/{name}", "rb").read())
    except OSError: pass
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


@pytest.mark.parametrize("target", ["os.getppid()", "1", "-1", "0", "this test", "-os.getpgrp()"])
def test_killing_the_parent_is_no_success_and_hurts_nobody(sandbox, neighbour, target):
    number = os.getpid() if target == "this test" else target
    outcome = sandbox.run_python(f"import os, signal\nos.kill({number}, signal.SIGKILL)\nos._exit(0)")
    assert not outcome.passed
    assert sandbox.run_python("print('still here')").stdout == "still here\n"


def test_a_process_of_the_same_user_cannot_be_reached(sandbox, neighbour):
    limits = Path(f"/proc/{neighbour}/limits").read_text()
    outcome = sandbox.run_python(
        refused(
            *(f"os.kill({neighbour}, signal.{name})" for name in ("SIGKILL", "SIGSTOP", "SIGTERM")),
            f"os.killpg({neighbour}, signal.SIGKILL)",
            f"call(libc.tgkill, {neighbour}, {neighbour}, 9)",
            f"call(libc.sigqueue, {neighbour}, 9, None)",
            f"os.pidfd_open({neighbour})",
            f"signal.pidfd_send_signal(os.open('/proc/{neighbour}', os.O_PATH), signal.SIGKILL)",
            f"call(libc.prlimit, {neighbour}, 7, ctypes.byref(words))",
            f"resource.prlimit({neighbour}, resource.RLIMIT_NOFILE, (1, 1))",
            f"os.setpriority(os.PRIO_PROCESS, {neighbour}, 19)",
            f"os.sched_setaffinity({neighbour}, [0])",
            f"call(libc.ptrace, 16, {neighbour}, 0, 0)",
            f"call(libc.ptrace, 0x4206, {neighbour}, 0, 0)",
            f"call(libc.process_vm_readv, {neighbour}, ctypes.byref(words), 1, ctypes.byref(words), 1, 0)",
            f"__import__('fcntl').fcntl(pipe[0], 8, {neighbour})\n    raise SystemExit(3)",
            *(
                f"open('/proc/{neighbour}/{name}', 'rb').read()"
                for name in ("environ", "mem", "maps", "stat", "cmdline")
            ),
            f"os.readlink('/proc/{neighbour}/exe')",
            f"os.listdir('/proc/{neighbour}/fd')",
            before="words = (ctypes.c_long * 2)(id(ctypes), 8)\npipe = os.pipe()",
        )
    )
    assert outcome.passed, outcome.stderr
    assert Path(f"/proc/{neighbour}/limits").read_text() == limits


def test_the_kernel_sends_no_signal_in_the_place_of_a_program(sandbox, neighbour):
    # A pipe that has something to read tells its owner, and the owner and the signal can be chosen (fcntl(2)).
    outcome = sandbox.run_python(
        "import fcntl, os, struct\nreading, writing = os.pipe()\n"
        f"for command, value in ((10, 9), (8, {neighbour}), (15, struct.pack('ii', 1, {neighbour}))):\n"
        "    try: fcntl.fcntl(reading, command, value)\n    except OSError: pass\n"
        "try: fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC)\nexcept OSError: pass\nos.write(writing, b'x')"
    )
    assert outcome.status in ("passed", "killed"), outcome


def test_no_process_outside_becomes_slower(sandbox, neighbour):
    before = Path(f"/proc/{neighbour}/stat").read_text().rpartition(")")[2].split()[15:17]
    outcome = sandbox.run_python(
        "import os\nfor what, who in ((os.PRIO_USER, 0), (os.PRIO_USER, os.getuid()), (os.PRIO_PGRP, 0)):\n"
        "    try: os.setpriority(what, who, 19)\n    except OSError: pass"
    )
    assert outcome.passed, outcome
    assert Path(f"/proc/{neighbour}/stat").read_text().rpartition(")")[2].split()[15:17] == before


def test_other_processes_cannot_be_seen(sandbox, neighbour):
    outcome = sandbox.run_python(
        "import glob\nfor path in glob.glob('/proc/[0-9]*/cmdline'):\n    print(open(path).read())\n"
        "for path in glob.glob('/proc/[0-9]*/environ'):\n"
        "    try: print(open(path).read())\n    except OSError: pass"
    )
    assert outcome.passed, outcome.stderr
    assert "sleep" not in outcome.stdout and "pytest" not in outcome.stdout and "NEIGHBOUR" not in outcome.stdout


def test_the_home_folder_is_not_the_callers(sandbox):
    outcome = sandbox.run_python(
        "import os, pathlib\nprint(os.path.expanduser('~'))\n"
        "assert not list(pathlib.Path(os.environ['HOME']).iterdir())"
    )
    assert outcome.passed, outcome.stderr
    assert outcome.stdout.strip() not in ("", os.path.expanduser("~"))


def test_programs_that_run_at_the_same_time_do_not_meet(sandbox, temporary):
    """One waits in its folder with a file in it; the other one looks for it everywhere that it may look."""
    waiting = "import time\nopen('mine', 'w').write('hidden words')\ntime.sleep(3)"
    thread = threading.Thread(target=sandbox.run_python, args=(waiting,))
    thread.start()
    folders: list[Path] = []
    while sandbox.name == "landlock" and thread.is_alive() and not folders:
        folders = [path.parent for path in temporary.glob("*/mine")]
    assert len(folders) == (1 if sandbox.name == "landlock" else 0)
    for folder in folders or [Path("/tmp")]:
        mine = str(folder / "mine")
        outcome = sandbox.run_python(refused(f"open({mine!r})", f"os.unlink({mine!r})", f"open({mine!r}, 'r+')"))
        assert outcome.passed, outcome.stderr
    thread.join()


def test_kernel_interfaces_are_closed(sandbox):
    outcome = sandbox.run_python(
        refused(
            "call(libc.unshare, 0x10000000)",
            "call(libc.ptrace, 0, 0, 0, 0)",
            "call(libc.mount, b'none', os.getcwd().encode(), b'tmpfs', 0, None)",
            "call(libc.chroot, os.getcwd().encode())",
            "call(libc.setuid, 0)",
            "call(libc.setns, 1, 0)",
            "os.setgroups([0])",
            "os.sethostname('x') if hasattr(os, 'sethostname') else socket.sethostname('x')",
            "call(libc.settimeofday, ctypes.byref((ctypes.c_long * 2)(1, 1)), None)",
            "call(libc.reboot, 0)",
            "call(libc.personality, 0x0400000)",
            "open('/dev/tty', 'w')",
            "open('/dev/kmsg')",
            "open('/proc/kallsyms').read(1) == '0' and open('/proc/sysrq-trigger', 'w')",
            "open('/sys/kernel/uevent_seqnum')",
            "__import__('fcntl').ioctl(0, 0x5412, b'x')",
        )
    )
    assert outcome.passed, outcome.stderr


@pytest.mark.parametrize(
    "name",
    ["bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "io_uring_setup", "process_vm_readv",
     "process_vm_writev", "init_module", "finit_module", "kexec_load", "open_by_handle_at", "pivot_root", "open_tree",
     "move_mount", "fsopen", "pidfd_open", "memfd_create", "socket", "setns", "umount2", "mq_open"],
)  # fmt: skip
def test_a_call_that_no_program_needs_is_refused(sandbox, name):
    number = syscalls.number(seccomp.machine(), name)
    program = refused(
        f"try: syscall({number}, 1, 1, 1, 1, 1)\n    except OSError as error:\n"
        "        assert error.errno in (1, 38), error\n        raise"
    )
    outcome = sandbox.run_python(program)
    assert outcome.passed, outcome.stderr


def test_there_are_no_privileges_to_use(sandbox):
    outcome = sandbox.run_python(
        f"import ctypes, os{LIBC}"
        "header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()\n"
        "call(libc.capget, ctypes.byref(header), ctypes.byref(sets))\n"
        "assert list(sets) == [0] * 6, list(sets)\n"
        "assert libc.prctl(39, 0, 0, 0, 0) == 1\n"
        "assert os.getuid() == os.geteuid() != 0 and os.getgid() != 0 and 0 not in os.getgroups()"
    )
    assert outcome.passed, outcome.stderr


@pytest.mark.skipif(seccomp.machine() != "x86_64", reason="machine code of x86_64")
@pytest.mark.parametrize(
    "code",
    [
        b"\xb8\x02\x00\x00\x00\xcd\x80\xc3",  # mov eax, 2; int 0x80; ret: fork by its number of 32-bit programs
        b"\xb8\x39\x00\x00\x40\x0f\x05\xc3",  # mov eax, 0x40000039; syscall; ret: fork by its number of x32
    ],
)
def test_other_doors_into_the_kernel_are_closed(sandbox, code):
    outcome = sandbox.run_python(
        f"import ctypes, mmap\nplace = mmap.mmap(-1, 4096, prot=7)\nplace.write({code!r})\n"
        "start = ctypes.addressof(ctypes.c_char.from_buffer(place))\nctypes.CFUNCTYPE(ctypes.c_int)(start)()"
    )
    assert outcome.status == "killed", outcome


STARTER = """
import glob, os, threading
from headwater.eval.sandbox import BACKEND, view
view.unprivileged_user()  # starts a process of its own
SLOW
threading.Thread(target=BACKEND().run_python, args=("import time; time.sleep(600)", 600)).start()
found = []
while not found:
    found = " ".join(open(path).read() for path in glob.glob("/proc/self/task/*/children")).split()
print(*found, flush=True)
WAIT
os.kill(os.getpid(), 9)
"""


SLOW = """
import dataclasses, sys, time
launch = BACKEND._launch
def late(*given):
    made = launch(*given)
    return dataclasses.replace(made, arguments=["/bin/sh", "-c", "sleep 1; exec \\"$@\\"", "sh", *made.arguments])
BACKEND._launch = late
"""


@pytest.mark.parametrize("slow", [False, True], ids=["at once", "before it could know of it"])
def test_a_program_ends_with_the_process_that_started_it(sandbox, temporary, slow):
    code = STARTER.replace("SLOW", SLOW if slow else "").replace("BACKEND", type(sandbox).__name__)
    code = code.replace("WAIT", "time.sleep(0.5)  # so that the program is sent" if slow else "")
    environment = {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    started = {int(word) for word in done.stdout.split()}
    assert started, done.stderr
    for process in started:
        fd = None
        try:
            fd = os.pidfd_open(process)
        except ProcessLookupError:
            continue
        assert select.select([fd], [], [], 20)[0], "the program outlived its starter"
        os.close(fd)
    for left in temporary.iterdir():
        scratch.remove(left)  # what a killed process cannot remove


def test_no_memory_is_written_out_when_a_program_crashes(sandbox):
    outcome = sandbox.run_python("import resource\nprint(*resource.getrlimit(resource.RLIMIT_CORE))")
    # 0 would not stop a core_pattern that is a program; but a limit that was 0 before stays so.
    expected = "0" if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 else "1"
    assert outcome.stdout.split() == [expected, expected]


def test_the_order_of_sets_is_the_same_every_time(sandbox):
    program = "print(list({'one', 'two', 'three', 'four', 'five', 'six', 'seven'}))"
    assert len({sandbox.run_python(program).stdout for _ in range(3)}) == 1
