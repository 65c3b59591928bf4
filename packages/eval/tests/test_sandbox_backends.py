"""Which sandbox is taken, what is said where there is none, and what is particular to each."""

import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import headwater.eval.sandbox as sandboxes
from headwater.core.errors import EvalError
from headwater.eval.sandbox import Availability, Bubblewrap, Landlock, choose, landlock, scratch, view

pytestmark = pytest.mark.slow


@pytest.fixture
def closed() -> Landlock:
    """The sandbox without namespaces."""
    backend = Landlock()
    if not (found := backend.probe()).ok:
        pytest.skip(f"no landlock sandbox on this machine: {found.reason}")
    return backend


def fake(folder, text: str) -> str:
    folder.chmod(0o755)
    path = folder / "bwrap"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


VERSION = '[ "$1" = --version ] && echo bubblewrap 0.9.0 && exit 0\n'
NO_NAMESPACES = VERSION + "echo setting up uid map: Permission denied >&2\nexit 1"
# Ignores its options and runs what follows them in the open: must not be taken for a sandbox.
OPEN = VERSION + 'while [ "$1" != -- ]; do shift; done\nshift 2\nexec python3 "$@"'


def test_bubblewrap_is_taken_first():
    if not (found := Bubblewrap().probe()).ok:
        pytest.skip(f"no bubblewrap on this machine: {found.reason}")
    chosen, found = choose([Bubblewrap(), Landlock()])
    assert isinstance(chosen, Bubblewrap)
    assert found == Availability(True, backend="bubblewrap")


@pytest.mark.parametrize("script", [None, NO_NAMESPACES, OPEN])
def test_where_bubblewrap_cannot_start_the_other_one_is_taken(closed, tmp_path, monkeypatch, script):
    monkeypatch.setenv("PATH", str(tmp_path))
    if script is not None:
        fake(tmp_path, script)
    chosen, found = choose([Bubblewrap(), Landlock()])
    assert isinstance(chosen, Landlock)
    assert found == Availability(True, backend="landlock")
    assert chosen.run_python("assert 1 + 1 == 2").passed


NESTED = """
import os
from headwater.eval.sandbox import Bubblewrap, availability, sandbox
reason = Bubblewrap().probe().reason
assert "cannot make a closed sandbox" in reason, reason
assert availability().backend == "landlock", availability()
outcome = sandbox().run_python(f"import os; print(os.getuid()); os.kill({os.getpid()}, 0)")
assert outcome.stdout == f"{os.getuid()}\\n" and "Operation not permitted" in outcome.stderr, outcome
assert not sandbox().run_python("open('/etc/passwd')").passed
"""


@pytest.mark.parametrize("user", ["0", "1000"])
def test_where_no_user_namespace_is_left_the_other_one_is_taken(closed, user):
    """In a user namespace that allows no further one, as in a container: bubblewrap itself makes it."""
    if not (found := Bubblewrap().probe()).ok:
        pytest.skip(f"no bubblewrap on this machine: {found.reason}")
    outer = ["bwrap", "--dev-bind", "/", "/", "--unshare-user", "--disable-userns", "--uid", user, "--gid", user]
    done = subprocess.run([*outer, sys.executable, "-c", NESTED], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def none_at_all(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(landlock, "abi", lambda: (0, "it is switched off"))
    sandboxes._chosen.cache_clear()
    yield
    sandboxes._chosen.cache_clear()


def test_where_neither_can_start_both_reasons_are_told_and_nothing_runs(none_at_all):
    problem = sandboxes.sandbox_problem()
    assert problem is not None
    assert "bubblewrap: there is no bwrap program; install bubblewrap 0.8 or newer" in problem
    assert "landlock: the kernel gives no Landlock (it is switched off); it needs Linux 5.13" in problem
    assert "lsm=landlock" in problem
    with pytest.raises(EvalError, match="sandbox only"):
        sandboxes.sandbox()
    for backend in (Bubblewrap(), Landlock()):
        with pytest.raises(EvalError, match="sandbox only"):
            backend.run_python("print(1)")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo bubblewrap 0.6.1", "too old"),
        ("exit 3", "too old"),
        (NO_NAMESPACES, "Permission denied"),
        (VERSION + "exit 0", "cannot make a closed sandbox"),
        (OPEN, "cannot make a closed sandbox"),
    ],
)
def test_a_bubblewrap_that_does_not_close_is_refused(tmp_path, script, reason):
    found = Bubblewrap(fake(tmp_path, script)).probe()
    assert not found.ok
    assert reason in found.reason


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("_handled", lambda version: ([landlock._EXECUTE], landlock._EXECUTE), "it lets a program"),
        ("_DEVICES", ("/",), "it lets a program"),
        ("_handled", lambda version: ([1 << 40], 0), "landlock_create_ruleset"),
        ("_CONFINE", "raise SystemExit('no')", "no"),
        # Skips all of it.
        ("_CONFINE", "import os, sys\nsource = sys.argv[1]\n"
         "inside = {'__name__': 'inside'}\nexec(source, inside)\nsize = int.from_bytes(os.read(0, 8), 'big')\n"
         "inside['_read_exactly'](0, size)\nsys.argv[:] = ['-c', sys.argv[2]]\ninside['_main']()", "it lets a program"),
    ],
)  # fmt: skip
def test_a_landlock_sandbox_that_does_not_close_is_refused(closed, monkeypatch, name, value, told):
    monkeypatch.setattr(landlock, name, value)
    if name == "_handled":
        for rights in ("_OWN", "_READ", "_USE_DEVICE"):
            monkeypatch.setattr(landlock, rights, landlock._EXECUTE)
    found = closed.probe()
    assert not found.ok
    assert told in found.reason


def test_an_open_system_call_filter_is_noticed(closed, monkeypatch):
    from headwater.eval.sandbox import allowed, seccomp

    monkeypatch.setattr(allowed, "program", lambda machine, process: seccomp.step(0x06, seccomp.ALLOW))
    found = closed.probe()
    assert not found.ok
    assert "it lets a program" in found.reason


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_older_kernels_interfaces_close_as_well(closed, monkeypatch, version, tmp_path):
    """What an older interface lacks (moves, truncation, devices, network, signals), the filter closes."""
    if landlock.abi()[0] < version:
        pytest.skip(f"the kernel's interface is version {landlock.abi()[0]}")
    monkeypatch.setattr(landlock, "abi", lambda: (version, ""))
    found = closed.probe()
    assert found.ok, found.reason
    outcome = closed.run_python(f"import os\nos.kill({os.getpid()}, 0)")
    assert "Operation not permitted" in outcome.stderr


def test_root_becomes_nobody(closed):
    if os.geteuid() != 0:
        pytest.skip("this is not root")
    outcome = closed.run_python("import os\nprint(os.getresuid(), os.getresgid(), os.getgroups())")
    assert outcome.stdout == "(65534, 65534, 65534) (65534, 65534, 65534) []\n"


WITHOUT = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
# No capability to become another user, as in a container that was started so.
header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capset(ctypes.byref(header), ctypes.byref(sets)) == 0
from headwater.eval.sandbox import Landlock
found = Landlock().probe()
assert found.ok, found.reason
outcome = Landlock().run_python("import os\\nprint(os.getuid())")
assert (outcome.status, outcome.stdout) == ("passed", "0\\n"), outcome
assert not Landlock().run_python("open('/etc/shadow').read()").passed
assert not Landlock().run_python("import os\\nos.listdir('/root')").passed
assert not Landlock().run_python("import os\\nos.chmod('/tmp', 0)").passed
"""


def test_a_root_that_may_not_become_nobody_gives_up_its_capabilities(closed):
    if os.geteuid() != 0:
        pytest.skip("this is not root")
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_interpreters_threads_of_the_same_user_do_not_count(closed):
    """The limit on threads is above what the user has already, so that a busy machine makes no program fail."""
    assert landlock._threads_of(os.getuid()) >= 1
    program = "import threading\nts = [threading.Thread(target=print) for _ in range(20)]\n[t.start() for t in ts]"
    assert closed.run_python(program).passed


@pytest.mark.parametrize("error", [OSError("no space"), subprocess.SubprocessError("no setuid")])
def test_a_probe_that_cannot_begin_says_why(closed, monkeypatch, error):
    def fail(user):
        raise error

    monkeypatch.setattr(scratch, "make", fail)
    found = closed.probe()
    assert not found.ok
    assert str(error) in found.reason


def test_a_folder_of_any_shape_is_removed(tmp_path):
    folder = scratch.make(None)
    place = os.open(folder, os.O_RDONLY)
    for count in range(3000):
        os.mkdir("deep", dir_fd=place)
        inner = os.open("deep", os.O_RDONLY, dir_fd=place)
        os.symlink("/", f"link-{count}", dir_fd=place)
        os.close(place)
        place = inner
    os.mkdir("closed", 0, dir_fd=place)
    os.close(place)
    keep = tmp_path / "keep"
    keep.write_text("kept")
    (folder / "to").symlink_to(tmp_path)
    scratch.remove(folder)
    assert not folder.exists()
    assert keep.read_text() == "kept"


def test_a_folder_that_others_cannot_reach_is_made_elsewhere(tmp_path, monkeypatch):
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(hidden))
    own = scratch.make(None)
    assert own.parent == hidden.resolve()
    if os.geteuid() == 0:
        other = scratch.make(view.NOBODY)
        assert other.parent == Path("/tmp") and other.stat().st_uid == view.NOBODY
        scratch.remove(other)


def test_the_probe_asks_this_kernel():
    version, problem = landlock.abi()
    known = ctypes.CDLL(None, use_errno=True).syscall(444, None, 0, 1)
    assert version == max(known, 0)
    assert bool(problem) == (version < 1)
