"""Runs an extractor in a process of its own, with a limit on processor time and memory for each page.

A parser in compiled code cannot be interrupted from Python, and one page in millions makes it run for hours, take all
memory or crash. In a child process the kernel ends it, and only that page is lost. The child is started when the
first page needs it and serves one page after the other; where it runs out of its limits, the next page gets a new one.

The limit is processor time, not wall-clock time, so that a busy machine decides as an idle one does. Still a faster
machine gets further in it: limits on bytes, tags and depth come first (see `nesting`), and this one is far above
what any page within them was seen to need.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from dataclasses import asdict

from headwater.core.config import Section
from headwater.data.operators.extractors import child
from headwater.data.operators.extractors.by_type import Unusable
from headwater.data.operators.extractors.options import Options
from headwater.data.operators.extractors.shared import Shared, new_shared_file

MEMORY_BYTES = 4 * 1024**3
_KEPT_BYTES = 256 * 1024**2
_MMAP_BYTES = 32 * 1024**2
_IDLE_FACTOR = 20  # a child that neither answers nor uses its processor time is lost after so many times the limit


class ParserStopped(Exception):
    """The child was ended.

    Attributes:
        by_limit: True when it used up its processor time, False when it crashed or took too much memory.
    """

    def __init__(self, message: str, *, by_limit: bool) -> None:
        super().__init__(message)
        self.by_limit = by_limit


class ParserFailed(Exception):
    """The extractor raised an exception, here in words."""


class TextTooLarge(Exception):
    """The text is larger than allowed: indentation can make it grow with the square of the page."""


def extract_guarded(
    payload: bytes, options: Options | Section, seconds: float, max_bytes: int, kind: str = "html"
) -> str:
    """The text of a page or document.

    Args:
        payload: An HTML page in UTF-8, or the bytes of a document of another kind.
        options: What the extractor is asked.
        seconds: Processor time that it may take.
        max_bytes: Largest text, in UTF-8.
        kind: "html", or as `by_type.kind_of`.

    Raises:
        Unusable: It has no text (kinds other than HTML).
        TextTooLarge: The text has more than `max_bytes`.
        ParserFailed: The extractor raised an exception.
        ParserStopped: It ran out of its limits, or crashed.
    """
    global _child
    with _lock:
        if _child is None or _child.owner != os.getpid() or not _child.alive():
            _child = _Child()
        return _child.extract(payload, options, seconds, max_bytes, kind)


def processor_seconds() -> float:
    """Processor time that this process's present child has taken; for measurements."""
    return _child.seconds if _child is not None else 0.0


class _Child:
    def __init__(self) -> None:
        self.owner = os.getpid()  # a forked copy of this process must not speak over the same pipes
        self.seconds = 0.0
        self._shared = Shared(new_shared_file())
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            # glibc would give freed memory back to the system, and take it again for the next page's tree.
            "MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES), "MALLOC_MMAP_THRESHOLD_": str(_MMAP_BYTES),
            "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",  # their stacks count as memory
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "headwater.data.operators.extractors.child", str(MEMORY_BYTES),
             str(self._shared.number)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
            pass_fds=[self._shared.number],
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._answered = select.poll()
        self._answered.register(self._answers, select.POLLIN)

    def alive(self) -> bool:
        return self._process.poll() is None

    def extract(self, payload: bytes, options: Options | Section, seconds: float, max_bytes: int, kind: str) -> str:
        self._shared.write(payload)
        asked = asdict(options) if isinstance(options, Options) else options.model_dump()
        request = {"kind": kind, "options": asked, "size": len(payload), "seconds": seconds, "max_bytes": max_bytes}
        line = b""
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
            if not self._answered.poll(_IDLE_FACTOR * seconds * 1000):
                self._process.kill()
                raise ParserStopped(f"no answer within {_IDLE_FACTOR * seconds:g} s", by_limit=True)
            line = self._answers.readline()
        if not line.endswith(b"\n"):
            raise self._stopped(seconds)
        answer = json.loads(line)
        self.seconds = answer["seconds"]
        text = self._shared.read(answer["bytes"])
        match answer["failure"]:
            case "":
                return text
            case child.EXCEPTION:
                raise ParserFailed(text)
            case child.TOO_LARGE:
                raise TextTooLarge(text)
            case reason:
                raise Unusable(reason, text)

    def _stopped(self, seconds: float) -> ParserStopped:
        code = self._process.wait()
        if code == -signal.SIGPROF:
            return ParserStopped(f"more than {seconds:g} s of processor time", by_limit=True)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return ParserStopped(f"the parser ended with {how}", by_limit=False)

    def close(self) -> None:
        """Lets the child end: it does when its input does."""
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        self._answers.close()
        self._process.wait()
        self._shared.close()


_lock = threading.Lock()
_child: _Child | None = None


def _forget() -> None:
    # After a fork the lock may be held by a thread that no longer exists.
    global _lock
    _lock = threading.Lock()


def _close() -> None:
    if _child is not None and _child.owner == os.getpid():
        _child.close()


os.register_at_fork(after_in_child=_forget)
atexit.register(_close)
