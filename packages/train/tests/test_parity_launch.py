"""The processes that `headwater train parity` starts end with it, whatever ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "headwater.train", "parity", "--layouts", "fsdp2", "--steps", "100"]


def family(of: psutil.Process) -> list[psutil.Process]:
    """The server that is forked from and both processes of the layout, once they are there; the baseline is one."""
    children = of.children(recursive=True)
    return children if any(len(one.children()) == 2 for one in children) else []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_nothing_outlives_the_command(how: signal.Signals) -> None:
    process = subprocess.Popen(COMMAND, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started = psutil.Process(process.pid)
    deadline = time.monotonic() + 240
    found: list[psutil.Process] = []
    while not found:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
        try:
            found = family(started)
        except psutil.NoSuchProcess:  # one that ended meanwhile
            continue
    process.send_signal(how)
    process.wait(60)
    _, alive = psutil.wait_procs(found, timeout=60)
    assert not alive
