"""Start, watch and stop Python's own documentation server (see `pydoc_serve`)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from headwater.core.errors import DataError
from headwater.data.collect.sources import PYDOC_URL


class PydocServer:
    """The documentation server in a process of its own, with an empty environment and its own working folder.

    A page can depend on which modules were imported before it (a class lists the subclasses that are known). One
    server, asked in one fixed order, gives the same pages each time; a crawl that was interrupted goes on with a
    fresh server and may differ from an uninterrupted one in a few pages.

    Attributes:
        connect_to: maps the server's stable address to where it listens now; kept up to date over restarts.
    """

    def __init__(self) -> None:
        self.connect_to: dict[str, tuple[str, int]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="headwater-pydoc-")

    def __enter__(self) -> PydocServer:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._folder.cleanup()

    def revive(self) -> None:
        """Start it anew: importing some module has ended it, or keeps it busy for too long."""
        self._stop()
        self._start()

    def _start(self) -> None:
        there, self._lifeline = os.pipe()
        # PYTHONHASHSEED fixes the order of sets; nothing else of the caller's environment may show on a page.
        environment = {
            "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore", "LC_ALL": "C.UTF-8",
            "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "TZ": "UTC", "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        script = Path(__file__).with_name("pydoc_serve.py")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-s", "-P", str(script), str(there)],
                cwd=self._folder.name, env=environment, pass_fds=[there],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        finally:
            os.close(there)
        assert self._process.stdout is not None and self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            said = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines()
            self._stop()
            raise DataError("Python's documentation server did not start", found=said[-1] if said else "no output")
        self._process.stdout.close()
        self._process.stderr.close()
        self.connect_to[f"{urlsplit(PYDOC_URL).hostname}:80"] = ("127.0.0.1", int(line))

    def _stop(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def python_fingerprint() -> dict[str, str]:
    """The Python whose documentation is served; another one is another site.

    Installed packages are left out on purpose: as with any crawled site, pages that changed since are no reason to
    throw a finished crawl away. Remove the source's folder to crawl again.
    """
    return {"python": sys.version}
