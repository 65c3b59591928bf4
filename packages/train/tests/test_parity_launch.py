"""`headwater train parity`: its processes end with it, whatever ends it, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from headwater.core.config import dump_yaml
from headwater.core.errors import ConfigError
from headwater.train.cli import train
from headwater.train.parity.compare import Group
from headwater.train.parity.layouts import LAYOUTS, recipe

COMMAND = [sys.executable, "-m", "headwater.train", "parity", "--layouts", "one", "--steps", "10000"]
"""Trains for longer than a test waits."""

GROUP = """
import sys, time
from pathlib import Path
from headwater.train import processes

processes._FORKED.set_forkserver_preload([])  # torch is not needed to be ended
with processes.Processes(2, Path(sys.argv[1]), time.sleep, 600) as group:
    group.finish()
"""


def family(of: psutil.Process, count: int) -> list[psutil.Process]:
    """The server that is forked from and the processes of the group, once they are there."""
    children = of.children(recursive=True)
    return children if any(len(one.children()) == count for one in children) else []


def check_that_nothing_outlives(command: list[str], count: int, how: signal.Signals) -> None:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started = psutil.Process(process.pid)
    deadline = time.monotonic() + 240
    found: list[psutil.Process] = []
    while not found:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
        try:
            found = family(started, count)
        except psutil.NoSuchProcess:  # one that ended meanwhile
            continue
    process.send_signal(how)
    process.wait(60)
    _, alive = psutil.wait_procs(found, timeout=60)
    for one in alive:
        one.kill()
    assert not alive


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_no_process_of_a_group_outlives_what_started_it(how: signal.Signals, tmp_path: Path) -> None:
    check_that_nothing_outlives([sys.executable, "-c", GROUP, str(tmp_path / "log.txt")], 2, how)


@pytest.mark.slow
def test_no_training_outlives_the_command() -> None:
    check_that_nothing_outlives(COMMAND, 1, signal.SIGKILL)


def test_what_cannot_be_compared_is_refused_and_the_list_is_json_too() -> None:
    for layouts in ("", ","):
        with pytest.raises(ConfigError, match="names no layout"):
            CliRunner().invoke(train, ["parity", "--layouts", layouts], catch_exceptions=False, standalone_mode=False)
    with pytest.raises(ConfigError, match="option of their own") as caught:
        CliRunner().invoke(train, ["parity", "train.steps=3"], catch_exceptions=False, standalone_mode=False)
    assert "--steps" in str(caught.value)
    listed = json.loads(CliRunner().invoke(train, ["parity", "--layouts", "list", "--json"]).stdout)
    assert {"layout": "tp2", "processes": 2, "train.parallel": "tp: 2"} in listed


def test_a_layout_that_the_model_does_not_fit_is_refused_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_yaml(recipe("llama3", 2)))
    group = Group(tmp_path, tmp_path, file, ["train.model.n_layers=3"], 2, built_in=True)
    (row,) = group.measure([LAYOUTS["pp2"]])
    assert row.state == "refused" and str(row.reason).startswith("model.n_layers (3) must be a multiple of")
