"""Ports that stay free until a server takes them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from headwater.core import ports


def test_a_port_is_not_one_that_the_system_gives_to_others() -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert all(not first <= ports.free_port() <= last for _ in range(20))


def test_a_taken_port_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    port = ports.free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert not ports.is_free(port)
        drawn = iter([port, port, port + 1])
        monkeypatch.setattr(ports, "is_free", lambda each: each != port)
        monkeypatch.setattr(ports.random.SystemRandom, "randint", lambda *_: next(drawn))
        assert ports.free_port() == port + 1


def test_where_all_ports_are_the_systems_it_gives_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "range").write_text("1024\t65535\n")
    monkeypatch.setattr(ports, "_EPHEMERAL", tmp_path / "range")
    assert ports.is_free(ports.free_port())
