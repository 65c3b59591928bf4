"""HTTP for crawling: one page at a time, in one connection a host, polite, bounded, with retries.

Waiting follows RFC 9110 §10.2.3 (Retry-After), robots.txt's Crawl-delay and an exponential backoff.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
MAX_WAIT_SECONDS = 120.0
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """A response as it came over the wire.

    Attributes:
        url: what was asked for.
        status: HTTP status.
        reason: HTTP reason phrase.
        version: for example "HTTP/1.1".
        headers: verbatim, in order.
        body: transfer encoding undone, content encoding kept.
        ip: the server's address, when known.
        fetched: when the headers came.
    """

    url: str
    status: int
    reason: str
    version: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    ip: str | None
    fetched: datetime

    def header(self, name: str) -> str:
        """The first header of that name, or ""."""
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == wanted), "")

    def media_type(self) -> str:
        """Media type of the body in lower case, without parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    def charset(self) -> str | None:
        """Declared character set, if any."""
        _, _, rest = self.header("content-type").lower().partition("charset=")
        return rest.partition(";")[0].strip(" \"'") or None

    def decoded(self, max_bytes: int) -> bytes:
        """The body without its content encoding (gzip is all that is asked for), at most `max_bytes`."""
        if self.header("content-encoding").strip().lower() not in ("gzip", "x-gzip", "deflate"):
            return self.body
        try:
            return zlib.decompressobj(wbits=47).decompress(self.body, max_bytes)
        except zlib.error:
            return self.body


@dataclass(frozen=True, slots=True)
class Failure:
    """A URL that gave no page: `outcome` from a closed vocabulary, `detail` for people.

    Outcomes: "http" (an error status, after retries), "timeout", "connection", "content_type", "too_large".
    """

    url: str
    outcome: str
    detail: str
    status: int | None = None


class ConnectTo(httpx.HTTPTransport):
    """Sends the requests for one host and port to another, as `curl --connect-to` does; the Host header stays.

    `targets` may change while a crawl runs (a server that was restarted has another port).
    """

    def __init__(self, targets: Mapping[str, tuple[str, int]]) -> None:
        super().__init__()
        self._targets = targets

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Redirects the connection of a request whose host is one of the targets."""
        url = request.url
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        target = self._targets.get(f"{url.host}:{port}")
        if target is not None:
            request.extensions = {**request.extensions, "sni_hostname": url.host}
            request.url = url.copy_with(host=target[0], port=target[1])
        return super().handle_request(request)


@dataclass
class Fetcher:
    """Fetches pages and keeps the waiting times.

    Attributes:
        user_agent: the User-Agent header.
        rate: requests a second to one host, at most; 0 means no limit.
        retries: how often a failed request is repeated.
        backoff_seconds: wait before the first repeat; doubled for each one after it.
        timeout_seconds: limit for connecting and for each read; a whole page may take ten times as long.
        max_bytes: a larger body is given up.
        connect_to: see `ConnectTo`.
        on_connection_error: called before a repeat (the documentation server is restarted there).
        sleep, clock: the only contacts with time.
    """

    user_agent: str
    rate: float = 1.0
    retries: int = 3
    backoff_seconds: float = 1.0
    timeout_seconds: float = 30.0
    max_bytes: int = 10 * 1024 * 1024
    connect_to: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    on_connection_error: Callable[[], None] | None = None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    delays: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._next: dict[str, float] = {}
        self._client = httpx.Client(
            headers={"User-Agent": self.user_agent, "Accept-Encoding": "gzip", "Accept": "text/html,*/*;q=0.8"},
            timeout=self.timeout_seconds,
            # One connection a host keeps the order of requests, and with it the archive, deterministic.
            limits=httpx.Limits(max_keepalive_connections=8),
            transport=ConnectTo(self.connect_to) if self.connect_to else None,
        )

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(
        self, url: str, media_types: Collection[str] = (), *, byte_range: tuple[int, int] | None = None,
        keep_errors: bool = False,
    ) -> Page | Failure:  # fmt: skip
        """Fetch a URL, waiting as politeness asks, repeating what may pass. Redirects are not followed.

        Args:
            url: a cleaned URL.
            media_types: accepted media types of a 2xx answer; empty means all.
            byte_range: first and last byte wanted (RFC 9110 §14.2).
            keep_errors: read the body of an error answer too.
        """
        attempt = 0
        while True:
            self._wait(url)
            result = self._once(url, media_types, byte_range, keep_errors)
            transient = isinstance(result, Failure) and result.outcome in ("timeout", "connection")
            if isinstance(result, Page) and result.status in RETRIED_STATUSES:
                retry_after = _retry_after(result.header("retry-after"))
                transient = True
            else:
                retry_after = None
            if not transient:
                return result
            if transient and isinstance(result, Failure) and self.on_connection_error is not None:
                self.on_connection_error()
            if attempt >= self.retries:
                if isinstance(result, Page):
                    return Failure(url, "http", f"{result.status} {result.reason}".strip(), result.status)
                return result
            backoff = self.backoff_seconds * 2**attempt
            self.sleep(min(MAX_WAIT_SECONDS, max(backoff, retry_after or 0.0)))
            attempt += 1

    def _wait(self, url: str) -> None:
        host = httpx.URL(url).netloc.decode()
        delay = max(1.0 / self.rate if self.rate > 0 else 0.0, self.delays.get(host, 0.0))
        if delay:
            now = self.clock()
            ready = self._next.get(host, now)
            if ready > now:
                self.sleep(ready - now)
            self._next[host] = max(ready, now) + delay

    def _once(
        self, url: str, media_types: Collection[str], byte_range: tuple[int, int] | None, keep_errors: bool
    ) -> Page | Failure:
        deadline = self.clock() + 10 * self.timeout_seconds
        try:
            headers = {"Range": "bytes={}-{}".format(*byte_range), "Accept-Encoding": "identity"} if byte_range else {}
            with self._client.stream("GET", url, headers=headers) as response:
                page = Page(
                    url, response.status_code, response.reason_phrase, response.http_version,
                    list(response.headers.raw), b"", _server_ip(response), datetime.now(UTC),
                )  # fmt: skip
                if not (200 <= page.status < 300 or keep_errors):
                    return page
                if 200 <= page.status < 300 and media_types and page.media_type() not in media_types:
                    return Failure(url, "content_type", page.media_type() or "none given", page.status)
                pieces: list[bytes] = []
                total = 0
                for piece in response.iter_raw(_CHUNK_BYTES):
                    pieces.append(piece)
                    total += len(piece)
                    if total > self.max_bytes:
                        return Failure(url, "too_large", f"more than {self.max_bytes:,} bytes", page.status)
                    if self.clock() > deadline:
                        return Failure(url, "timeout", "the whole page took too long", page.status)
                return replace(page, body=b"".join(pieces))
        except httpx.TimeoutException as error:
            return Failure(url, "timeout", type(error).__name__)
        except (httpx.TransportError, httpx.InvalidURL, httpx.DecodingError) as error:
            # The class only: messages hold ports and addresses, which differ between two equal crawls.
            return Failure(url, "connection", type(error).__name__)


def _server_ip(response: httpx.Response) -> str | None:
    stream = response.extensions.get("network_stream")
    address = stream.get_extra_info("server_addr") if stream is not None else None
    return str(address[0]) if address else None


def _retry_after(value: str) -> float | None:
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
