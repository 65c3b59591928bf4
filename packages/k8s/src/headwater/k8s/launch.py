"""The first process of a training pod: starts the pod's processes, one a GPU, and ends as they do.

torchrun starts processes too, but ends with 1 whatever they ended with, and on SIGTERM kills them after 30 seconds.
Here SIGTERM is passed on and waited for, and the exit code says whether to start the pods again (see `restarts`).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headwater.core.children import end_with_parent
from headwater.core.errors import ConfigError
from headwater.k8s.restarts import AGAIN, PEER_LOST

LINGER_SECONDS = 60.0
"""How long the others may take to end by themselves when one has failed; then they are killed."""

POLL_SECONDS = 0.1

_LOST = re.compile(
    "Connection closed by peer|Connection reset by peer|Broken pipe|DistBackendError|DistNetworkError|DistStoreError"
    "|ncclRemoteError|remote process exited|NCCL communicator was aborted|Socket Timeout|recvValue failed"
)
"""What gloo, NCCL and torch's store say when a process at the other end is gone."""


@dataclass(frozen=True)
class Rendezvous:
    """Where this pod stands among the others.

    Attributes:
        nodes: How many pods.
        node: The number of this one.
        address: Host of the first.
        port: Of its store.
    """

    nodes: int
    node: int
    address: str
    port: int


@dataclass
class Child:
    """One process.

    Attributes:
        rank: Among all processes of the training.
        process: The process.
        said: The end of what it said.
        ended: When it was found to have ended (monotonic seconds); none: it runs.
    """

    rank: int
    process: subprocess.Popen[str]
    said: deque[str] = field(default_factory=lambda: deque[str](maxlen=200))
    ended: float | None = None

    @property
    def code(self) -> int:
        """Its exit code; as a shell has it when a signal ended it."""
        code = self.process.returncode
        return code if code >= 0 else 128 - code

    @property
    def lost_peer(self) -> bool:
        """Whether it failed because another process of the training was gone."""
        return self.code in (1, 128 + signal.SIGABRT) and any(_LOST.search(line) for line in self.said)


def read_rendezvous(environment: Mapping[str, str]) -> Rendezvous:
    """What the controller of the job put into the environment, under torchrun's names.

    Args:
        environment: PET_NNODES, PET_NODE_RANK and, with several pods, PET_MASTER_ADDR and PET_MASTER_PORT or the same
            without PET_.

    Raises:
        ConfigError: It is not whole.
    """
    nodes, node = _number(environment, "PET_NNODES", 1), _number(environment, "PET_NODE_RANK", 0)
    if not 0 <= node < nodes:
        raise ConfigError(
            "this pod is none of the training", found=f"PET_NODE_RANK={node}", expected=f"0 to {nodes - 1}"
        )
    address = environment.get("PET_MASTER_ADDR") or environment.get("MASTER_ADDR")
    if nodes == 1:
        address = "127.0.0.1"
    if not address:
        raise ConfigError("the address of the first pod is not known", expected="PET_MASTER_ADDR or MASTER_ADDR",
                          hint="a TrainJob, a JobSet or a PyTorchJob sets it")  # fmt: skip
    port = _number(environment, "PET_MASTER_PORT", _number(environment, "MASTER_PORT", 29500))
    return Rendezvous(nodes, node, address, port)


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise ConfigError(f"{name} is no number", found=text)
    return int(text)


def launch(
    command: Sequence[str], processes: int, rendezvous: Rendezvous, *, again_code: int | None = None,
    linger: float = LINGER_SECONDS,
) -> int:  # fmt: skip
    """Runs a command once a GPU, until all have ended or one has failed.

    Args:
        command: The command and its arguments.
        processes: How many on this pod.
        rendezvous: Where this pod stands.
        again_code: What to end with in place of 75 and 76; none: these.
        linger: Seconds that the others may go on after one failed.

    Returns:
        0 when all did; 75 when one did, as all do after SIGTERM; 76 when another pod's process was gone; else the exit
        code of the process that failed first.

    Raises:
        ConfigError: There is no such command.
    """
    children: list[Child] = []

    def pass_on(number: int, frame: object) -> None:
        for child in children:
            if child.ended is None:
                child.process.send_signal(signal.SIGTERM)

    previous = {each: signal.signal(each, pass_on) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        for local in range(processes):
            children.append(_start(command, local, processes, rendezvous))
        readers = [threading.Thread(target=_read, args=(child, rendezvous), daemon=True) for child in children]
        for reader in readers:
            reader.start()
        _wait(children, linger)
        for reader in readers:
            reader.join(timeout=5)
        code = _verdict(children)
        return again_code if again_code is not None and code in (AGAIN, PEER_LOST) else code
    finally:
        for child in children:
            child.process.kill()
        for each, handler in previous.items():
            signal.signal(each, handler)


def _start(command: Sequence[str], local: int, processes: int, rendezvous: Rendezvous) -> Child:
    rank = rendezvous.node * processes + local
    environment = os.environ | {
        "RANK": str(rank), "LOCAL_RANK": str(local), "WORLD_SIZE": str(rendezvous.nodes * processes),
        "LOCAL_WORLD_SIZE": str(processes), "GROUP_RANK": str(rendezvous.node),
        "MASTER_ADDR": rendezvous.address, "MASTER_PORT": str(rendezvous.port),
    }  # fmt: skip
    try:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", preexec_fn=end_with_parent(),  # no threads run yet
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(f"{command[0]} cannot be started", found=str(error),
                          hint="look at the image: it has to hold the command") from error  # fmt: skip
    return Child(rank, process)


def _read(child: Child, rendezvous: Rendezvous) -> None:
    assert child.process.stdout is not None
    for line in child.process.stdout:
        child.said.append(line)
        sys.stdout.write(f"[{child.rank}] {line}")
        sys.stdout.flush()


def _wait(children: Sequence[Child], linger: float) -> None:
    until: float | None = None
    while any(child.ended is None for child in children):
        time.sleep(POLL_SECONDS)
        now = time.monotonic()
        for child in children:
            if child.ended is None and child.process.poll() is not None:
                child.ended = now
                if child.code not in (0, AGAIN) and until is None:
                    until = now + linger
        if until is not None and now > until:
            for child in children:
                child.process.kill()


def _verdict(children: Sequence[Child]) -> int:
    failed = sorted((child for child in children if child.code not in (0, AGAIN)), key=lambda child: child.ended or 0)
    if first := next((child for child in failed if not child.lost_peer), None):
        print(f"headwater k8s launch: process {first.rank} ended with {first.code}", file=sys.stderr, flush=True)
        return first.code
    if any(child.code == AGAIN for child in children):  # whom the others lost, if they lost one
        return AGAIN
    if failed:
        print("headwater k8s launch: a process of another pod is gone", file=sys.stderr, flush=True)
        return PEER_LOST
    return 0
