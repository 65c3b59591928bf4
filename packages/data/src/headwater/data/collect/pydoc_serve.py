"""Python's own documentation server, as a program: the `pydoc` server of the standard library on loopback.

Run by path with `python -s -P`, it needs nothing but the standard library. It serves the pages of `pydoc` with
these changes, all of them so that two crawls of one environment give the same bytes:

- only the standard library and site-packages are shown, not what the environment adds to the path;
- their locations on this machine are written as /python/lib and /python/site-packages, the addresses of objects
  as 0x0, sets in one order, and the operating system without its version;
- modules are imported once, not again for every page (extension modules cannot be imported twice).

Importing a module runs its code. An audit hook refuses what documentation does not need: connections, new
processes, browsers, and writing outside the temporary working folder.

Usage: pydoc_serve.py LIFELINE_FD — prints the port, then serves until the other end of the pipe is closed.
"""

import os
import platform
import pydoc
import re
import reprlib
import sys
import sysconfig
import threading
from pathlib import Path
from typing import Any

_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,16}\b")
_NUMBER = re.compile(r"\b(?:1[34]\d{13}|7[ef][0-9a-f]{10})\b")
"""Addresses that are shown without 0x: thread and object identifiers, handles (of 47-bit user space)."""
_REFUSED = frozenset(
    {"socket.connect", "socket.sendto", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork",
     "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "webbrowser.open"}
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def contain(workdir: str) -> None:
    """Refuse, from here on, what importing a module should not do. Audit hooks cannot be removed."""

    def allowed(path: object) -> bool:
        return isinstance(path, str) and str(Path(path).absolute()).startswith((workdir, os.devnull))

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & _WRITING and not allowed(path):
                raise PermissionError(f"not while serving documentation: writing {path}")
        elif event in _REFUSED and not (arguments and allowed(arguments[0])):
            raise PermissionError(f"not while serving documentation: {event}")

    sys.addaudithook(hook)


def places() -> list[tuple[str, str]]:
    """(what names this machine, what is written instead), the longest first."""
    paths = sysconfig.get_paths()
    named = {
        paths["purelib"]: "/python/site-packages",
        paths["platlib"]: "/python/site-packages",
        paths["stdlib"]: "/python/lib",
        paths["platstdlib"]: "/python/lib",
        str(Path(os.__file__).parent): "/python/lib",
        __file__: "/python/lib/pydoc.py",
        sys.executable: "/python/bin/python",
        sys.prefix: "/python",
        sys.base_prefix: "/python",
        str(Path.cwd()): "/python/tmp",
        platform.platform(terse=True): sys.platform,
    }
    for common in ("/usr", "/usr/local", "/"):  # a system's Python: these stand in ordinary text, too
        named.pop(common, None)
    return sorted(named.items(), key=lambda item: -len(item[0]))


def main() -> None:
    """Serve until the parent is gone."""
    lifeline = int(sys.argv[1])
    sys.argv = ["pydoc"]
    known = places()
    library = tuple({path for key, path in sysconfig.get_paths().items() if key.endswith("lib") or "std" in key})
    sys.path[:] = [path for path in sys.path if path.startswith(library) and not path.endswith(".zip")]
    sys.orig_argv = ["python", "-m", "pydoc"]

    def stable(text: str) -> str:
        for place, name in known:
            text = text.replace(place, name)
        return _NUMBER.sub("0", _ADDRESS.sub("0x0", text))

    # The parts of pydoc that make up its server have no public names.
    machinery: Any = pydoc
    locate, handler, cram = machinery.locate, machinery._url_handler, machinery.cram
    machinery.locate = lambda path, forceload=0: locate(path, 0)
    # Long values are cut in the middle, by length: what differs must be gone before.
    machinery.cram = lambda text, limit: cram(stable(text), limit)
    # A set of things without an order is shown in the order of their addresses.
    sort: Any = reprlib
    sort._possibly_sorted = lambda things: sorted(things, key=repr)

    def page(url: str, content_type: str = "text/html") -> str:
        return stable(handler(url, content_type))

    server = machinery._start_server(page, "127.0.0.1", 0)
    os.write(1, f"{server.port}\n".encode())
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)

    def wait_for_the_end() -> None:
        os.read(lifeline, 1)
        os._exit(0)

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    contain(str(Path.cwd()))
    server.join()


if __name__ == "__main__":
    main()
