"""A sandbox for Python programs, made with bubblewrap: no network, no home, no other process, limits on everything.

Every run gets new user, mount, process, network, IPC, host name and control group namespaces, an unprivileged user id
without capabilities, a read-only view of the interpreter and the system libraries, one small temporary folder, an empty
environment, a system call filter (`seccomp.py`), and resource limits. It is closed by default: whatever cannot be set
up makes `probe` say no, and nothing runs.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from typing import ClassVar

from headwater.core.errors import EvalError
from headwater.eval.sandbox import seccomp, view
from headwater.eval.sandbox.runner import INSIDE, PYTHON_FLAGS, Availability, Launch, Sandbox, probe_by_running

INSTALL = "install bubblewrap 0.8 or newer, for example: apt-get install bubblewrap"
OLDEST = (0, 8)


class Bubblewrap(Sandbox):
    """Runs Python programs that nobody has read, in namespaces of their own.

    Args:
        bwrap: Path of the `bwrap` program; by default the one on PATH.
    """

    name: ClassVar[str] = "bubblewrap"

    def __init__(self, bwrap: str | None = None) -> None:
        self._bwrap = bwrap or shutil.which("bwrap")

    def probe(self) -> Availability:
        """Runs small programs to see that the sandbox works and that it is closed."""
        if not sys.platform.startswith("linux"):
            return Availability(False, f"bubblewrap runs on Linux only, and this is {sys.platform}")
        if self._bwrap is None:
            return Availability(False, f"there is no bwrap program; {INSTALL}")
        if seccomp.machine() is None:
            return Availability(False, "there is a system call filter for x86_64 and aarch64 machines only")
        try:
            told = subprocess.run([self._bwrap, "--version"], capture_output=True, text=True, timeout=10).stdout
        except (OSError, subprocess.TimeoutExpired) as error:
            return Availability(False, f"{self._bwrap} does not run ({error}); {INSTALL}")
        version = tuple(int(part) for part in re.findall(r"\d+", told)[:2])
        if version < OLDEST:
            return Availability(False, f"{told.strip() or self._bwrap} is too old; {INSTALL}")
        if (wrong := probe_by_running(self, _PROBE)) is None:
            return Availability(True, backend=self.name)
        hint = "user namespaces may be restricted: see bwrap(1) and your distribution's AppArmor settings"
        return Availability(False, f"bubblewrap cannot make a closed sandbox here: {wrong} ({hint})")

    def _launch(self, stack: contextlib.ExitStack, result: int) -> Launch:
        machine = seccomp.machine()
        if self._bwrap is None or machine is None:
            raise EvalError("generated code runs in a sandbox only, and there is none", hint=INSTALL)
        filter_read = _pipe_holding(seccomp.program(machine))
        stack.callback(os.close, filter_read)
        python = [view.interpreter().path, *PYTHON_FLAGS, INSIDE, str(result)]
        return Launch(
            arguments=[self._bwrap, *view.arguments(filter_read), "--", *python],
            descriptors=(filter_read,),
            user=view.other_user(self._bwrap),
        )


def _pipe_holding(content: bytes) -> int:
    """The reading end of a pipe that holds a few bytes and then ends."""
    read, write = os.pipe()
    os.write(write, content)
    os.close(write)
    return read


_PROBE = """
import os, socket
for path in ("/home", "/etc/passwd", "/etc/shadow", "/root", "/var", "/work"):
    assert not os.path.exists(path), f"the sandbox shows {path}"
assert len([name for name in os.listdir("/proc") if name.isdigit()]) <= 3, "the sandbox shows other processes"
assert os.getuid() == 65534, f"the sandbox runs as user {os.getuid()}"
for call in (lambda: socket.socket(), os.fork, lambda: open("/usr/made", "w"), lambda: open("/made", "w")):
    try:
        call()
    except OSError:
        continue
    raise AssertionError("the sandbox lets a program open sockets, start processes or write outside /tmp")
with open("/tmp/made", "w") as stream:
    stream.write("made")
"""
