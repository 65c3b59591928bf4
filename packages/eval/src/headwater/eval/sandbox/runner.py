"""What every sandbox does alike: starts a Python program under limits, follows it to its end, and says how it ended.

A backend says how the first program inside is started (`_launch`) and how its own closedness is proven (`probe`).
"""

import contextlib
import hmac
import json
import math
import os
import secrets
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, ClassVar, Literal

from headwater.eval.sandbox.inside import MEMORY_EXIT
from headwater.eval.sandbox.output import Tail

Status = Literal["passed", "failed", "incomplete", "timeout", "memory", "killed"]

INSIDE = Path(__file__).with_name("inside.py").read_text(encoding="utf-8")
PYTHON_FLAGS = ("-P", "-s", "-S", "-B", "-X", "utf8", "-c")
PROBE_SECONDS = 30
TAIL_BYTES = 8192
FILE_BYTES = 8 * 1024 * 1024
PROCESSES = 64
OPEN_FILES = 64
_CORE_BYTES = 1  # keeps nothing, and unlike 0 also stops a core_pattern that is a program (Linux, fs/coredump.c)
_SIGNALLED = 128  # a shell's exit code for "ended by signal n" is 128 + n, and bubblewrap's too
_POLL_SECONDS = 0.03


@dataclass(frozen=True)
class Availability:
    """Whether programs can run here, why not, and in which sandbox."""

    ok: bool
    reason: str = ""
    backend: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        status: `passed`: came to its last line. `failed`: raised. `incomplete`: ended itself before its last line.
            `timeout`: wall-clock or processor time. `memory`: MemoryError. `killed`: a signal or another cause.
        exit_code: The sandbox's exit code; 128 + n when signal n ended it.
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


def _nothing(_: int) -> bytes:
    return b""


def _no_breach(_: int, __: int) -> str | None:
    return None


@dataclass(frozen=True)
class Launch:
    """How a backend starts the first program inside.

    Attributes:
        arguments: The command.
        descriptors: What stays open for it, besides the standard three.
        environment: Its environment.
        folder: Its working directory.
        user: User and group to become, or None to stay.
        processes: Limit on the user's threads.
        preface: What is sent before the program, given the id of the started process.
        breach: Asked every few milliseconds, given that id and the bytes printed so far: what the program did that ends
            it, or None.
    """

    arguments: Sequence[str]
    descriptors: Sequence[int] = ()
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    folder: str = "/"
    user: int | None = None
    processes: int = PROCESSES
    preface: Callable[[int], bytes] = _nothing
    breach: Callable[[int, int], str | None] = _no_breach


class Sandbox(ABC):
    """Runs Python programs that nobody has read."""

    name: ClassVar[str]

    @abstractmethod
    def probe(self) -> Availability:
        """Runs small programs to see that the sandbox works and that it is closed."""

    @abstractmethod
    def _launch(self, stack: contextlib.ExitStack, result: int) -> Launch:
        """How to start `inside.py`, with the descriptor that the token goes to; the stack cleans up afterwards.

        Raises:
            EvalError: The backend is not there.
        """

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
            EvalError: The backend is not there.
        """
        key, challenge = secrets.token_bytes(32), secrets.token_bytes(32)
        started = time.monotonic()
        with contextlib.ExitStack() as stack:
            result_read, result_write = os.pipe()
            token = Tail(result_read, 64)
            try:
                launch = self._launch(stack, result_write)
                process = subprocess.Popen(
                    launch.arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    env=launch.environment, cwd=launch.folder, pass_fds=(*launch.descriptors, result_write),
                    start_new_session=True, user=launch.user, group=launch.user,
                    extra_groups=None if launch.user is None else [],
                )  # fmt: skip
            finally:
                os.close(result_write)
            limits = {
                "RLIMIT_CPU": cpu_seconds or math.ceil(timeout_seconds),
                "RLIMIT_AS": memory_bytes,
                "RLIMIT_FSIZE": FILE_BYTES,
                "RLIMIT_NPROC": launch.processes,
                "RLIMIT_NOFILE": OPEN_FILES,
                "RLIMIT_CORE": _CORE_BYTES,
            }
            message = json.dumps({"program": program, "key": key.hex(), "limits": limits}).encode()
            sent = launch.preface(process.pid) + framed(message) + challenge
            late, breach, code, stdout, stderr = _follow(process, sent, started + timeout_seconds, launch.breach)
        proof = hmac.compare_digest(token.bytes(), hmac.digest(key, challenge, "sha256"))
        status: Status = "timeout" if late else "killed" if breach else _status(code, proof)
        seconds = time.monotonic() - started
        return Outcome(status, code, stdout, "\n".join(filter(None, (stderr, breach))), seconds)


def framed(content: bytes) -> bytes:
    """Content after its length, as `inside.py` reads it."""
    return len(content).to_bytes(8, "big") + content


def _follow(
    process: "subprocess.Popen[bytes]", sent: bytes, deadline: float, breach: Callable[[int, int], str | None]
) -> tuple[bool, str | None, int, str, str]:
    """Feeds and watches a sandbox: whether it was too late, what it broke, its exit code, the ends of its outputs."""
    assert process.stdin and process.stdout and process.stderr
    outputs = [Tail(os.dup(pipe.fileno()), TAIL_BYTES) for pipe in (process.stdout, process.stderr)]
    process.stdout.close()
    process.stderr.close()
    ended, broken, pause = False, None, 0.001
    # In a thread, because a sandbox that hangs at its start reads nothing.
    writer = threading.Thread(target=_send, args=(process.stdin, sent), daemon=True)
    writer.start()
    try:
        while not ended and broken is None and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(2 * pause, _POLL_SECONDS)
            ended = _has_ended(process.pid)
            broken = breach(process.pid, sum(output.total for output in outputs))
    finally:
        # The whole group, also when its first process has ended: that one is not reaped yet, so its id is nobody
        # else's. What runs in a namespace of process ids ends with it (--die-with-parent).
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        writer.join()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    code = code if code >= 0 else _SIGNALLED - code
    return not ended and broken is None, broken, code, outputs[0].text(), outputs[1].text()


def _has_ended(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


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
    return "killed" if code > _SIGNALLED else "failed"


def probe_by_running(sandbox: Sandbox, program: str) -> str | None:
    """Runs a program that tries to get out, and one that ends early; what went wrong, or None."""
    outcome = sandbox.run_python(program, timeout_seconds=PROBE_SECONDS)
    if not outcome.passed:
        lines = outcome.stderr.strip().splitlines() or [f"{outcome.status}, exit code {outcome.exit_code}"]
        return lines[-1]
    early = sandbox.run_python("import os\nos._exit(0)", timeout_seconds=PROBE_SECONDS)
    return None if early.status == "incomplete" else f"an early exit was taken for {early.status}, not for incomplete"
