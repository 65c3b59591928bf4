"""Runs the whole test suite once for each state of the tree.

A second run over an unchanged tree (same files, same Python, same optional tools) prints the earlier result, with
what was skipped and why, instead of running again. `--force` runs it anyway.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMPS = ROOT / ".stamps"
OPTIONAL_SERVERS = ("HEADWATER_CRD_SERVER", "HEADWATER_CRDS", "HEADWATER_CLUSTER")  # see packages/k8s/tests/
OPTIONAL_TOOLS = ("bwrap", "chromium", "chromedriver", "promtool", "java", "nvidia-smi")


def tree_digest() -> str:
    """SHA-256 over every file that git tracks or would track, the interpreter, and the optional tools at hand."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout  # fmt: skip
    state = hashlib.sha256(sys.version.encode())
    for name in sorted(part for part in listing.split(b"\0") if part):
        path = ROOT / os.fsdecode(name)
        if path.is_file():
            state.update(name + b"\0" + path.read_bytes() + b"\0")
    state.update(repr([shutil.which(tool) for tool in OPTIONAL_TOOLS]).encode())
    state.update(repr([os.environ.get(name) for name in OPTIONAL_SERVERS]).encode())
    state.update(str((ROOT.parent / "shared").is_dir()).encode())
    return state.hexdigest()[:24]


def main() -> int:
    """Runs pytest, or repeats what it said about this very tree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--force", action="store_true", help="run even when this tree was tested before")
    arguments = parser.parse_args()
    stamp = STAMPS / f"test-{tree_digest()}.txt"
    if stamp.is_file() and not arguments.force:
        print(stamp.read_text())
        print("unchanged since that run; `make test FORCE=1` runs it again")
        return 0
    workers = 2
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "--durations=10", "-n", str(workers), "--dist", "loadfile"]
    # Each takes its share of the cores: threads of one that has all of them wait for those of the other.
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    tail: list[str] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            tail = [*tail, line][-200:]
    if process.returncode == 0:
        STAMPS.mkdir(exist_ok=True)
        for old in STAMPS.glob("test-*.txt"):
            old.unlink()
        start = next((number for number, line in enumerate(tail) if "short test summary" in line), len(tail) - 1)
        stamp.write_text("".join(tail[start:]))
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
