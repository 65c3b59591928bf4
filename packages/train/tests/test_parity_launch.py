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

COMMAND = [sys.executable, "-m", "headwater.train", "parity", "--layouts", "fsdp2", "--steps", "100"]


def family(of: psutil.Process) -> list[psutil.Process]:
    """The server that is forked from and both processes of the layout, once they are there; the baseline is one."""
    children = of.children(recursive=True)
    return children if any(len(one.children()) == 2 for one in children) else []


@pytest.mark.slow
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
