"""URLs: one spelling for each page, and which of them a crawl may visit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit, urlunsplit

from w3lib.url import canonicalize_url, safe_url_string

MAX_URL_CHARACTERS = 2000
_DEFAULT_PORTS = {"http": 80, "https": 443}


def clean_url(url: str, base: str | None = None) -> str | None:
    """The URL to fetch for a link: absolute, percent-encoded, lower-case host, no default port, no fragment.

    Args:
        url: as written in the page.
        base: the page's address (or its <base href>).

    Returns:
        None when it is no fetchable http(s) URL.
    """
    try:
        parts = urlsplit(safe_url_string(urljoin(base, url.strip()) if base else url.strip()))
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not host or parts.username is not None:
        return None
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        netloc += f":{port}"
    # urljoin with itself removes the dot segments (RFC 3986 §5.2.4) of a URL that came without a base.
    path = urlsplit(urljoin(f"http://x{parts.path or '/'}", parts.path or "/")).path or "/"
    cleaned = urlunsplit((parts.scheme, netloc, path, parts.query, ""))
    return cleaned if len(cleaned) <= MAX_URL_CHARACTERS else None


def url_key(url: str) -> str:
    """The key under which a cleaned URL is visited once: query arguments sorted, escapes in one spelling."""
    return canonicalize_url(url)


def host_of(url: str) -> str:
    """Host and port of a cleaned URL, as robots.txt and rate limits apply to it."""
    return urlsplit(url).netloc


@dataclass(frozen=True)
class Scope:
    """Which URLs a crawl may visit.

    Attributes:
        hosts: hosts (with their port, when it is not the default one).
        include: regular expressions, of which one must be found in the URL; none means all.
        exclude: regular expressions, of which none may be found in the URL.
    """

    hosts: frozenset[str]
    include: tuple[re.Pattern[str], ...] = ()
    exclude: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def of(cls, seeds: Sequence[str], hosts: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> Scope:
        """A scope of the given hosts, or of the seeds' own hosts when none is given."""
        return cls(
            frozenset(hosts) or frozenset(host_of(seed) for seed in seeds),
            tuple(re.compile(pattern) for pattern in include),
            tuple(re.compile(pattern) for pattern in exclude),
        )

    def refusal(self, url: str) -> str | None:
        """Why a cleaned URL may not be visited ("host", "include" or "exclude"), or None when it may."""
        if host_of(url) not in self.hosts:
            return "host"
        if self.include and not any(pattern.search(url) for pattern in self.include):
            return "include"
        if any(pattern.search(url) for pattern in self.exclude):
            return "exclude"
        return None
