"""Common Crawl's index: which captures exist of a URL pattern, and where their records lie.

The server is a pywb CDX server: one JSON object a line, in pages (`showNumPages`, `page`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode

from headwater.core.errors import DataError
from headwater.data.collect.fetcher import Failure, Fetcher, Page

INDEX_URL = "https://index.commoncrawl.org"
DATA_URL = "https://data.commoncrawl.org"


@dataclass(frozen=True, slots=True)
class Capture:
    """One line of the index: a record of `length` bytes at `offset` of the WARC file `filename`."""

    url: str
    timestamp: str
    status: str
    mime: str
    filename: str
    offset: int
    length: int

    def as_json(self) -> dict[str, Any]:
        """The capture as JSON values."""
        return asdict(self)


def crawls(fetcher: Fetcher, index_url: str = INDEX_URL) -> list[str]:
    """Names of the crawls that the index knows, the newest first.

    Raises:
        DataError: the index cannot be reached.
    """
    answer = _get(fetcher, f"{index_url.rstrip('/')}/collinfo.json")
    try:
        return [str(entry["id"]) for entry in json.loads(answer.decoded(fetcher.max_bytes))]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError("the crawl index sent a list that cannot be read", found=str(error)) from error


def captures(
    fetcher: Fetcher, crawl: str, pattern: str, filters: tuple[str, ...] = (), index_url: str = INDEX_URL
) -> Iterator[Capture | str]:
    """Captures of a URL pattern, in the order of the index; a line that cannot be read is yielded as it is.

    Args:
        fetcher: does the requests.
        crawl: for example "CC-MAIN-2026-05".
        pattern: a URL, `https://example.org/docs/*` or `*.example.org`.
        filters: CDX filters such as "=status:200" or "~mime:text/.*".
        index_url: where the index is.

    Raises:
        DataError: the index cannot be reached or does not know the crawl.
    """
    endpoint = f"{index_url.rstrip('/')}/{crawl}-index"
    common = [("url", pattern), ("output", "json"), *(("filter", rule) for rule in filters)]
    answer = _get(fetcher, f"{endpoint}?{urlencode([*common, ('showNumPages', 'true')])}", allow=(404,))
    if answer.status == 404:
        _no_captures(answer, crawl, pattern)
        return
    try:
        pages = int(json.loads(answer.decoded(fetcher.max_bytes))["pages"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError("the crawl index sent a page count that cannot be read", found=str(error)) from error
    for page in range(pages):
        answer = _get(fetcher, f"{endpoint}?{urlencode([*common, ('page', str(page))])}", allow=(404,))
        if answer.status == 404:
            return
        for line in answer.decoded(fetcher.max_bytes).decode("utf-8", "replace").splitlines():
            if line.strip():
                yield _capture(line)


def _capture(line: str) -> Capture | str:
    try:
        entry = json.loads(line)
        return Capture(
            url=str(entry["url"]), timestamp=str(entry["timestamp"]), status=str(entry.get("status", "")),
            mime=str(entry.get("mime", "")), filename=str(entry["filename"]), offset=int(entry["offset"]),
            length=int(entry["length"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        return line


def _no_captures(answer: Page, crawl: str, pattern: str) -> None:
    """A pattern without captures and an unknown crawl are both a 404; only the first says "No Captures"."""
    said = answer.body.decode("utf-8", "replace")
    if "no captures" not in said.lower():
        raise DataError(f"the crawl index does not know {crawl}", found=f"404 for {pattern}",
                        hint="`headwater data fetch common-crawl --list` names the crawls there are")  # fmt: skip


def _get(fetcher: Fetcher, url: str, allow: tuple[int, ...] = ()) -> Page:
    answer = fetcher.get(url, keep_errors=True)
    if isinstance(answer, Failure):
        raise DataError(f"the crawl index did not answer: {answer.detail}", found=url,
                        hint="try again later (the index is often busy), or give another --index-url")  # fmt: skip
    if not (200 <= answer.status < 300 or answer.status in allow):
        raise DataError(f"the crawl index refused the question: {answer.status} {answer.reason}", found=url)
    return answer
