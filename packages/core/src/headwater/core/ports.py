"""A TCP port that is free, and stays so until a server that is started next has taken it."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 20_000
_TRIES = 1000


def is_free(port: int) -> bool:
    """Whether a server on loopback could listen on the port now."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port for a server that cannot be told 0, because others have to know its port before it runs.

    It lies below the range from which the system gives ports to outgoing connections and to servers that ask for any
    (ip(7), `ip_local_port_range`), so that none of those takes it meanwhile.

    Raises:
        OSError: There is none.
    """
    try:
        highest = int(_EPHEMERAL.read_text().split()[0]) - 1
    except (OSError, ValueError):
        highest = 32_767  # Linux's default
    for _ in range(_TRIES):
        if highest <= _LOWEST:
            break
        port = random.SystemRandom().randint(_LOWEST, highest)
        if is_free(port):
            return port
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
