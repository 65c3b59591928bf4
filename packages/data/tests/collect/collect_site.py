"""A web site on loopback for the tests: pages from a dictionary, every request logged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """What a path answers; headers are added to Content-Type and Content-Length."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    type: str = "text/html; charset=utf-8"


Handler = Callable[["Site", str, dict[str, str]], Answer]


@dataclass
class Site:
    """The running site; `log` holds (path with query, request headers) in order."""

    port: int
    handler: Handler
    log: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def rule(self) -> str:
        """A --connect-to rule that puts http://site.test/ here."""
        return f"site.test:80:127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        """Paths asked for, in order, without robots.txt."""
        return [path for path, _ in self.log if path != "/robots.txt"]


def pages(answers: dict[str, Answer | bytes | list[Answer]]) -> Handler:
    """A handler that looks paths up; a list is answered item by item, its last one for ever."""

    def handle(site: Site, path: str, headers: dict[str, str]) -> Answer:
        answer = answers.get(path)
        if answer is None:
            return Answer(b"not here", status=404)
        if isinstance(answer, list):
            return answer.pop(0) if len(answer) > 1 else answer[0]
        return answer if isinstance(answer, Answer) else Answer(answer)

    return handle


def links(*targets: str) -> bytes:
    """A page with links."""
    return "".join(f'<p>text</p><a href="{target}">{target}</a>' for target in targets).encode()


@contextmanager
def serve(handler: Handler) -> Iterator[Site]:
    """Runs a site until the end of the block."""

    class Request(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            site.log.append((self.path, headers))
            answer = site.handler(site, self.path, headers)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.type)
            if "Transfer-Encoding" not in answer.headers:
                self.send_header("Content-Length", str(len(answer.body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            with suppress(ConnectionError):  # the crawler may have been killed
                self.end_headers()
                self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
    server.daemon_threads = True
    site = Site(server.server_port, handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
