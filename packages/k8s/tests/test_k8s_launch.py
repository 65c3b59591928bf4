"""The launcher of a pod: real processes, real signals, and torch's own words when a peer is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headwater.core.errors import ConfigError
from headwater.core.ports import free_port
from headwater.k8s.launch import Rendezvous, read_rendezvous

ENVIRONMENT = (
    "import os; print(*(os.environ[n] for n in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR')), flush=True)"
)

ON_SIGTERM = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), print("saved", flush=True), sys.exit(75)))
open(os.path.join(sys.argv[1], os.environ["RANK"]), "w").close()
time.sleep(60)
"""

COLLECTIVES = """
import os, sys, time
import torch, torch.distributed as dist
dist.init_process_group("gloo")
dist.all_reduce(torch.ones(1))
open(os.path.join(sys.argv[1], os.environ["RANK"]), "w").write(str(os.getpid()))
while True:
    dist.all_reduce(torch.ones(1))
    time.sleep(0.05)
"""


def start(
    code: str,
    *arguments: object,
    processes: int = 2,
    nodes: int = 1,
    node: int = 0,
    port: int = 0,
    options: tuple[str, ...] = (),
) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "headwater.core.cli",
        "k8s",
        "launch",
        "--processes",
        str(processes),
        *options,
        "--",
    ]
    environment = os.environ | {
        "PET_NNODES": str(nodes), "PET_NODE_RANK": str(node), "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    return subprocess.Popen(
        [*command, sys.executable, "-c", code, *map(str, arguments)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for(folder: Path, count: int) -> None:
    end = time.monotonic() + 60
    while len(list(folder.iterdir())) < count:
        assert time.monotonic() < end, "the processes did not start"
        time.sleep(0.05)


def test_each_process_knows_where_it_stands():
    process = start(ENVIRONMENT, nodes=3, node=1)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert sorted(out.splitlines()) == ["[2] 2 0 6 127.0.0.1", "[3] 3 1 6 127.0.0.1"]


def test_the_first_failure_is_the_exit_code():
    process = start(
        "import os, sys, time; rank = int(os.environ['RANK']); time.sleep(rank); sys.exit(7 if rank == 0 else 9)"
    )
    _, said = process.communicate(timeout=60)
    assert process.returncode == 7
    assert "process 0 ended with 7" in said


def test_sigterm_is_passed_on_and_waited_for(tmp_path):
    process = start(ON_SIGTERM, tmp_path)
    wait_for(tmp_path, 2)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    assert sorted(out.splitlines()) == ["[0] saved", "[1] saved"]


def test_the_code_for_another_try_can_be_the_operators(tmp_path):
    process = start(ON_SIGTERM, tmp_path, options=("--again-code", "143"))
    wait_for(tmp_path, 2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


def test_a_killed_process_and_those_it_leaves_behind_are_told_apart(tmp_path):
    port = free_port()
    first = start(COLLECTIVES, tmp_path, processes=1, nodes=2, node=0, port=port)
    second = start(COLLECTIVES, tmp_path, processes=1, nodes=2, node=1, port=port)
    wait_for(tmp_path, 2)
    os.kill(int((tmp_path / "1").read_text()), signal.SIGKILL)
    second.communicate(timeout=60)
    _, said = first.communicate(timeout=60)
    assert second.returncode == 128 + signal.SIGKILL
    assert first.returncode == 76, said


@pytest.mark.parametrize(
    ("first", "options", "code"),
    [
        (0, (), 76),
        (0, ("--again-code", "143"), 143),
        (75, (), 75),  # a stall after a checkpoint: here is the peer that was lost
        (69, (), 69),
        (69, ("--again-code", "143"), 69),
    ],
)
def test_who_lost_a_peer_says_less_than_who_was_lost(first: int, options: tuple[str, ...], code: int):
    lost = "import os, sys; print('Connection closed by peer'); sys.exit({} if os.environ['RANK'] == '1' else 1)"
    process = start(lost.format(first), options=options)
    process.communicate(timeout=60)
    assert process.returncode == code


def test_a_command_that_is_not_there_is_named():
    process = subprocess.run(
        [sys.executable, "-m", "headwater.core.cli", "k8s", "launch", "--processes", "1", "--", "no-such-command"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 2
    assert "no-such-command cannot be started" in process.stderr


def test_one_pod_needs_no_address():
    assert read_rendezvous({}) == Rendezvous(1, 0, "127.0.0.1", 29500)


def test_the_pytorchjobs_names_are_read_too():
    found = read_rendezvous({"PET_NNODES": "2", "PET_NODE_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1234"})
    assert found == Rendezvous(2, 1, "a", 1234)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PET_NNODES": "2"}, "the address of the first pod is not known"),
        ({"PET_NNODES": "2", "PET_NODE_RANK": "2", "MASTER_ADDR": "a"}, "none of the training"),
        ({"PET_NNODES": "two"}, "PET_NNODES is no number"),
    ],
)
def test_an_environment_that_is_not_whole_is_refused(environment, said):
    with pytest.raises(ConfigError, match=said):
        read_rendezvous(environment)
