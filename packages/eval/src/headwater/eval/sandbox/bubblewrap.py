"""A sandbox for Python programs, made with bubblewrap: no network, no home, no other process, limits on everything.

Every run gets new user, mount, process, network, IPC, host name and control group namespaces, an unprivileged user id
without capabilities, a read-only view of the interpreter and the system libraries, one small temporary folder, an empty
environment, a system call filter (`seccomp.py`), and resource limits. It is closed by default: whatever cannot be set
up makes `probe` say no, and nothing runs.
"""

import contextlib
import hmac
import json
import math
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from headwater.core.errors import EvalError
from headwater.eval.sandbox import seccomp, view
from headwater.eval.sandbox.inside import MEMORY_EXIT
from headwater.eval.sandbox.output import Tail

Status = Literal["passed", "failed", "incomplete", "timeout", "memory", "killed"]

INSTALL = "install bubblewrap 0.8 or newer, for example: apt-get install bubblewrap"
OLDEST = (0, 8)
TAIL_BYTES = 8192
FILE_BYTES = 8 * 1024 * 1024
PROCESSES = 64
OPEN_FILES = 64
_SIGNALLED = 128  # a shell's exit code for "ended by signal n" is 128 + n, and bubblewrap's too


@dataclass(frozen=True)
class Availability:
    """Whether programs can run here, and why not."""

    ok: bool
    reason: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        status: `passed`: came to its last line. `failed`: raised. `incomplete`: ended itself before its last line.
            `timeout`: wall-clock or processor time. `memory`: MemoryError. `killed`: a signal or another cause.
        exit_code: The sandbox's exit code.
        stdout: The end of what it printed.
        stderr: The end of what it wrote to standard error.
        seconds: Wall time.
    """

    status: Status
    exit_code: int
    stdout: str
    stderr: str
    seconds: float = field(compare=False)

    @property
    def passed(self) -> bool:
        """Whether the program came to its last line."""
        return self.status == "passed"


class Sandbox:
    """Runs Python programs that nobody has read.

    Args:
        bwrap: Path of the `bwrap` program; by default the one on PATH.
    """

    def __init__(self, bwrap: str | None = None) -> None:
        self._bwrap = bwrap or shutil.which("bwrap")
        self._inside = Path(__file__).with_name("inside.py").read_text(encoding="utf-8")

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
        outcome = self.run_python(_PROBE, timeout_seconds=30)
        if outcome.passed:
            early = self.run_python("import os\nos._exit(0)", timeout_seconds=30)
            if early.status == "incomplete":
                return Availability(True)
            return Availability(False, f"an early exit was taken for {early.status}, not for incomplete")
        lines = outcome.stderr.strip().splitlines() or [f"{outcome.status}, exit code {outcome.exit_code}"]
        hint = "user namespaces may be restricted: see bwrap(1) and your distribution's AppArmor settings"
        return Availability(False, f"bubblewrap cannot make a closed sandbox here: {lines[-1]} ({hint})")

    def run_python(
        self,
        program: str,
        timeout_seconds: float = 10.0,
        memory_bytes: int = 512 * 1024 * 1024,
        cpu_seconds: int | None = None,
    ) -> Outcome:
        """Runs a program and says how it ended.

        Args:
            program: Source text. Its exit code is of no account: only its last line counts as success.
            timeout_seconds: Wall-clock limit, start of the interpreter included.
            memory_bytes: Limit on the address space.
            cpu_seconds: Limit on processor time, which other work on the machine does not change; by default the
                wall-clock limit, rounded up.

        Raises:
            EvalError: There is no bubblewrap.
        """
        machine = seccomp.machine()
        if self._bwrap is None or machine is None:
            raise EvalError("generated code runs in a sandbox only, and there is none", hint=INSTALL)
        limits = {
            "RLIMIT_CPU": cpu_seconds or math.ceil(timeout_seconds),
            "RLIMIT_AS": memory_bytes,
            "RLIMIT_FSIZE": FILE_BYTES,
            "RLIMIT_NPROC": PROCESSES,
            "RLIMIT_NOFILE": OPEN_FILES,
            "RLIMIT_CORE": 0,
        }
        key, challenge = secrets.token_bytes(32), secrets.token_bytes(32)
        message = json.dumps({"program": program, "key": key.hex(), "limits": limits}).encode()
        python = [view.interpreter().path, "-P", "-s", "-S", "-B", "-X", "utf8", "-c"]
        user = view.other_user(self._bwrap)
        started = time.monotonic()
        with contextlib.ExitStack() as stack:
            filter_read = _pipe_holding(seccomp.program(machine))
            stack.callback(os.close, filter_read)
            result_read, result_write = os.pipe()
            token = Tail(result_read, 64)
            process = subprocess.Popen(
                [self._bwrap, *view.arguments(filter_read), "--", *python, self._inside, str(result_write)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={}, cwd="/",
                pass_fds=(filter_read, result_write), start_new_session=True,
                user=user, group=user, extra_groups=None if user is None else [],
            )  # fmt: skip
            os.close(result_write)
            sent = len(message).to_bytes(8, "big") + message + challenge
            late, code, stdout, stderr = _follow(process, sent, timeout_seconds)
        proof = hmac.compare_digest(token.bytes(), hmac.digest(key, challenge, "sha256"))
        status: Status = "timeout" if late else _status(code, proof)
        return Outcome(status, code, stdout, stderr, time.monotonic() - started)


def _follow(process: "subprocess.Popen[bytes]", sent: bytes, timeout: float) -> tuple[bool, int, str, str]:
    """Feeds and watches a sandbox: whether it was too late, its exit code, and the ends of its two outputs."""
    assert process.stdin and process.stdout and process.stderr
    outputs = [Tail(os.dup(pipe.fileno()), TAIL_BYTES) for pipe in (process.stdout, process.stderr)]
    process.stdout.close()
    process.stderr.close()
    late = False
    # In a thread, because a sandbox that hangs at its start reads nothing.
    writer = threading.Thread(target=_send, args=(process.stdin, sent), daemon=True)
    writer.start()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        late = True
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # what runs inside ends with it (--die-with-parent)
        code = process.wait()
        writer.join()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    return late, code, outputs[0].text(), outputs[1].text()


def _send(pipe: IO[bytes], content: bytes) -> None:
    # A sandbox that could not start closes its end; its own message says why.
    with contextlib.suppress(BrokenPipeError):
        pipe.write(content)
        pipe.flush()


def _status(code: int, proof: bool) -> Status:
    """What an exit code and the token say."""
    if code == 0:
        return "passed" if proof else "incomplete"
    if code == MEMORY_EXIT:
        return "memory"
    if code == _SIGNALLED + signal.SIGXCPU:
        return "timeout"
    return "killed" if code > _SIGNALLED or code < 0 else "failed"


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
