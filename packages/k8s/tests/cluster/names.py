"""Names of services for the pods of the test cluster: as CoreDNS answers them, from the API server, and nothing else.

Usage: python names.py ADDRESS STATE
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import struct
import sys
from pathlib import Path
from typing import Any

DOMAIN = ["svc", "cluster", "local"]
A, AAAA = 1, 28
SECONDS = 2
"""How long an answer holds: endpoints change."""


class Services:
    """The addresses behind the names of services.

    Args:
        address: Of the API server.
        state: Folder with the certificates.
    """

    def __init__(self, address: str, state: Path) -> None:
        self._address = address
        self._context = ssl.create_default_context(cafile=str(state / "ca.crt"))
        self._context.load_cert_chain(state / "admin.crt", state / "admin.key")

    def _get(self, path: str) -> dict[str, Any] | None:
        connection = http.client.HTTPSConnection(self._address, 6443, timeout=5, context=self._context)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        return json.loads(content) if response.status == 200 else None

    def find(self, labels: list[str]) -> list[str] | None:
        """Addresses of a name; none: there is no such name.

        Args:
            labels: Of the name: `service.namespace.svc.cluster.local`, or with a pod's host name before it.
        """
        if labels[-3:] != DOMAIN or len(labels) not in (5, 6):
            return None
        *hosts, service, namespace = labels[:-3]
        found = self._get(f"/api/v1/namespaces/{namespace}/services/{service}")
        if found is None:
            return None
        if not hosts and found["spec"]["clusterIP"] != "None":
            return [found["spec"]["clusterIP"]]
        endpoints = self._get(f"/api/v1/namespaces/{namespace}/endpoints/{service}") or {}
        return [
            each["ip"] for subset in endpoints.get("subsets", []) for each in subset.get("addresses", [])
            if not hosts or each.get("hostname") == hosts[0]
        ]  # fmt: skip


def answer(query: bytes, services: Services) -> bytes:
    """The answer to a query (RFC 1035)."""
    labels: list[str] = []
    at = 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii", "replace").lower())
        at += length + 1
    kind = struct.unpack("!H", query[at + 1 : at + 3])[0]
    addresses = services.find(labels)
    given = addresses if addresses and kind == A else []
    flags = 0x8580 if addresses is not None else 0x8583  # an authority; 3: no such name
    head = query[:2] + struct.pack("!5H", flags, 1, len(given), 0, 0)
    records = [struct.pack("!HHHIH", 0xC00C, A, 1, SECONDS, 4) + socket.inet_aton(each) for each in given]
    return head + query[12 : at + 5] + b"".join(records)


def main() -> None:
    address, state = sys.argv[1], Path(sys.argv[2])
    services = Services(address, state)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    while True:
        query, client = server.recvfrom(4096)
        try:
            server.sendto(answer(query, services), client)
        except (OSError, IndexError, struct.error, ValueError) as error:
            print(f"{type(error).__name__}: {error}", flush=True)  # the client asks again


if __name__ == "__main__":
    main()
