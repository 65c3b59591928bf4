"""Whole runs of the line for tests: started once a session, copied where a test damages one."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "recipes" / "tiny.yaml"
# One thread a process: two runs share two cores without changing a sum's order.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def headwater(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headwater.core.cli", *(str(argument) for argument in arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd=ROOT)
    if check:
        assert result.returncode == 0, f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Starts a command in a process group of its own, so that a test can kill all of it."""
    command = [sys.executable, "-m", "headwater.core.cli", *(str(argument) for argument in arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT, cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip


def kill(process: subprocess.Popen[str]) -> None:
    """kill -9 of a command and everything it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def digests(folder: Path, pattern: str = "manifest.json") -> dict[str, str]:
    """SHA-256 of every file of that name below the folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob(pattern))
    }
