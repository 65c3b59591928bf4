"""Serves the run page: GET only, three fixed addresses, no file by name."""

from __future__ import annotations

import errno
import ipaddress
import json
import socket
import sys
import traceback
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from headwater.core.errors import ConfigError

from .charts import View
from .page import RunPage

_HEADERS = {
    # The page's own policy is in its head, with the hash of its script; this one bounds what a header alone can.
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_WIDTHS = (240.0, 2400.0)


class PageServer(ThreadingHTTPServer):
    """The server of a page; `serve_forever` serves it.

    Args:
        page: The page.
        host: Address or name to listen on.
        port: 0 takes any free one.

    Raises:
        ConfigError: It cannot listen there.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, page: RunPage, host: str = "127.0.0.1", port: int = 0) -> None:
        self.page, self._host = page, host
        try:
            (self.address_family, _, _, _, place), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            super().__init__(place[:2], Handler)  # type: ignore[arg-type]
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            raise ConfigError(
                f"cannot listen on {host}, port {port}", found="another program does" if taken else error,
                hint="choose another port with --port; 0 takes any free one" if taken
                else "give an address of this machine with --host",
            ) from error  # fmt: skip

    @property
    def url(self) -> str:
        """Where the page is."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.server_address[1]}/"

    def allows(self, host: str | None) -> bool:
        """Whether a request's Host header may be answered.

        A page elsewhere can make its own name point at this machine (DNS rebinding), and then read what is served
        here. It cannot do so with an IP address, nor with a name that is this server's. The port is not compared: a
        tunnel may have another.
        """
        try:
            name = urlsplit(f"//{host}").hostname if host else None
        except ValueError:
            return False
        if name is None:
            return False
        if name in {"localhost", self._host.lower()} or (not self.is_local and name == socket.gethostname().lower()):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(str(self.server_address[0])).is_loopback

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that went away is none."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            traceback.print_exc()


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: PageServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "headwater", ""
    timeout = 30

    def do_GET(self) -> None:
        """The page, its state, or that there is no such thing."""
        if not self.server.allows(self.headers.get("Host")):
            return self._send(403, "this server answers to its own name and to IP addresses only\n", "text/plain")
        parts = urlsplit(self.path)
        if parts.path == "/":
            return self._send(200, self.server.page.frame(), "text/html")
        if parts.path == "/state":
            try:
                view, only, known = _asked(parse_qs(parts.query, max_num_fields=16))
            except ValueError as error:
                return self._send(400, f"{error}\n", "text/plain")
            answer = self.server.page.state(view, only, known)
            return self._send(200, json.dumps(answer, ensure_ascii=False, allow_nan=False), "application/json")
        return self._send(404, "there is nothing here; the page is at /\n", "text/plain")

    do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Any other method, or a request that is none: in one line, without what was asked."""
        code = 405 if code == 501 else code
        self._send(code, "only GET is answered here\n" if code == 405 else "this is no request\n", "text/plain")

    def _send(self, code: int, text: str, kind: str) -> None:
        content = text.encode("utf-8", errors="replace")
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if code == 405:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Connection", "close")  # so that no thread waits for a reader
        self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is written of each request."""


def _asked(query: Mapping[str, list[str]]) -> tuple[View, list[int] | None, str]:
    """The view that a request is for.

    Raises:
        ValueError: It has something that is none.
    """
    unknown = set(query) - {"width", "from", "to", "log", "runs", "known"}
    if unknown:
        raise ValueError("the request has a field that is not known; known are width, from, to, log, runs and known")
    width = min(max(_number(query, "width", 1040.0), _WIDTHS[0]), _WIDTHS[1])
    first, last = _number(query, "from", 0.0), _number(query, "to", 0.0)
    steps = (first, last) if "to" in query else None
    if steps and not 0 <= first < last:
        raise ValueError("from and to are steps, and from is the lower one")
    runs = query.get("runs", [""])[-1]
    if runs and not all(one.isascii() and one.isdigit() and len(one) < 4 for one in runs.split(",")):
        raise ValueError("runs are the places of runs, for example 0,2")
    only = [int(one) for one in runs.split(",")] if runs else None
    return View(width, steps, query.get("log", [""])[-1] == "1"), only, query.get("known", [""])[-1]


def _number(query: Mapping[str, list[str]], name: str, default: float) -> float:
    text = query.get(name, [str(default)])[-1]
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e15:
        raise ValueError(f"{name} is a number")
    return value
