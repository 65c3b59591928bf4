"""The child of `guard`: requests on standard input, answers on standard output; pages and texts in shared memory."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import time
from typing import Any

from headwater.data.operators.extractors import by_type
from headwater.data.operators.extractors.options import Options, extractor
from headwater.data.operators.extractors.shared import Shared

# Why there is no text, besides the reasons of `by_type`.
EXCEPTION, TOO_LARGE = "exception", "too large"


def serve(memory_bytes: int, shared: Shared) -> None:
    """Answers one request after the other, and ends when its input does."""
    # What a library prints must not get between the answers.
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(ValueError, OSError):  # a lower limit may be set already
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes the input
    while line := requests.readline():
        request = json.loads(line)
        max_bytes = request["max_bytes"]
        # The default action of SIGPROF ends the process, also in the middle of compiled code.
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        try:
            body, failure = _text(shared, **request).encode("utf-8", "replace"), ""
        except by_type.Unusable as error:
            body, failure = str(error).encode("utf-8", "replace"), error.reason
        except Exception as error:  # a parser's failure is an answer
            body, failure = f"{type(error).__name__}: {str(error)[:200]}".encode("utf-8", "replace"), EXCEPTION
        signal.setitimer(signal.ITIMER_PROF, 0)
        if len(body) > max_bytes:
            body, failure = f"{len(body):,} bytes of text, at most {max_bytes:,}".encode(), TOO_LARGE
        shared.write(body)
        answer = {"failure": failure, "bytes": len(body), "seconds": time.process_time()}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _text(shared: Shared, kind: str, options: dict[str, Any], size: int, **_: Any) -> str:
    if kind != "html":
        return by_type.text_of(kind, shared.read_bytes(size), by_type.CONFIGS[kind](**options))
    asked = Options(**{**options, "skip": tuple(options["skip"])})
    return extractor(asked.html)(shared.read(size), asked)


if __name__ == "__main__":
    serve(int(sys.argv[1]), Shared(int(sys.argv[2])))
