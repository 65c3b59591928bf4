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
WORKER = "headwater.train.parity.worker"


def command_line(of: psutil.Process) -> str:
    """Empty for a process that has ended meanwhile."""
    try:
        return " ".join(of.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def workers(of: psutil.Process) -> list[psutil.Process]:
    """torchrun and its two workers, once they are there; the single process that comes before has no launcher."""
    found = [one for one in of.children(recursive=True) if WORKER in command_line(one)]
    return found if len(found) == 3 else []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_nothing_outlives_the_command(how: signal.Signals) -> None:
    process = subprocess.Popen(COMMAND, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started = psutil.Process(process.pid)
    deadline = time.monotonic() + 240
    while not (family := workers(started)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(how)
    process.wait(60)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
