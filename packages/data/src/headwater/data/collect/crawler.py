"""A polite crawl of a few hosts: breadth first, one request at a time, resumable, reproducible.

robots.txt follows RFC 9309: it is fetched once a host; a 4xx answer allows everything; when it cannot be fetched
nothing of that host is visited.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protego import Protego

from headwater.core.console import Progress
from headwater.core.errors import ConfigError
from headwater.core.storage import atomic_write
from headwater.data.collect.fetcher import Failure, Fetcher, Page
from headwater.data.collect.frontier import Frontier, Waiting
from headwater.data.collect.links import page_links
from headwater.data.collect.sources import CrawlSource
from headwater.data.collect.urls import Scope, clean_url, host_of, url_key
from headwater.data.collect.warc_writer import WarcArchive, http_head

STATE = "crawl.sqlite"
LOG = "crawl.jsonl"
_ROBOTS_MAX_BYTES = 500 * 1024
"""RFC 9309 §2.5 asks for at least 500 KiB to be parsed."""
_HTML = frozenset({"text/html", "application/xhtml+xml"})


@dataclass(frozen=True, slots=True)
class CrawlResult:
    """What a crawl left in its folder: the files (WARC files and crawl.jsonl) and the counters."""

    files: list[Path]
    counters: dict[str, Any]


def crawl(
    source: CrawlSource, folder: Path, name: str, fetcher: Fetcher, progress: Progress | None = None
) -> CrawlResult:
    """Crawl, or go on with the crawl that `folder` holds, until nothing is left or a limit is reached.

    A crawl that was killed goes on after the last page that was wholly written. On a site that did not change, the
    result has the same bytes as an uninterrupted crawl (when `source.date` is given).

    Args:
        source: seeds, scope and limits.
        folder: work folder: the state, the WARC files and, at the end, crawl.jsonl.
        name: stem of the WARC files.
        fetcher: does the requests and the waiting.
        progress: is advanced by one a saved page.

    Raises:
        ConfigError: a seed is no http(s) URL or is out of scope.
        StorageError: the disk refused a write; the crawl can be continued.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _forget_if_torn(folder)
    frontier = Frontier(folder / STATE)
    try:
        resume = frontier.get("archive")
        info = {"robots": "obey" if source.robots else "ignore", "http-header-user-agent": source.user_agent}
        with WarcArchive(
            folder, name, info=info, max_bytes=source.max_file_bytes, date=source.date,
            resume_at=(resume[0], resume[1]) if resume else None,
        ) as archive:  # fmt: skip
            _Crawl(source, frontier, archive, fetcher, progress).run()
            files = archive.files()
        counts = frontier.counts()
        log = folder / LOG
        atomic_write(log, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in frontier.log()))
        counters = {"pages": counts.get("saved", 0), "urls": counts, "out_of_scope": frontier.get("out_of_scope") or {}}
        return CrawlResult([*files, log], counters)
    finally:
        frontier.close()


def _forget_if_torn(folder: Path) -> None:
    """After a power cut the state may be ahead of the archive; the crawl then starts over."""
    if not (folder / STATE).exists():
        return
    frontier = Frontier(folder / STATE)
    resume = frontier.get("archive")
    frontier.close()
    if resume is None:
        return
    path = folder / resume[0]
    if not path.is_file() or path.stat().st_size < resume[1]:
        for stale in folder.glob(f"{STATE}*"):
            stale.unlink()


class _Crawl:
    def __init__(
        self, source: CrawlSource, frontier: Frontier, archive: WarcArchive, fetcher: Fetcher,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self.source = source
        self.frontier = frontier
        self.archive = archive
        self.fetcher = fetcher
        self.progress = progress
        self.seeds = [_seed(seed) for seed in source.seeds]
        self.scope = Scope.of(self.seeds, source.hosts, source.include, source.exclude)
        self.robots: dict[str, Protego | None] = {}

    def run(self) -> None:
        for seed in self.seeds:
            refusal = self.scope.refusal(seed)
            if refusal is not None:
                raise ConfigError(f"the crawl may not visit its own seed {seed}", found=f"refused by `{refusal}`")
        with self.frontier.transaction():
            self.frontier.add([(seed, url_key(seed)) for seed in self.seeds], 0)
        saved = self.frontier.counts().get("saved", 0)
        while saved < self.source.max_pages:
            item = self.frontier.next()
            if item is None:
                break
            saved += self._visit(item)

    def _visit(self, item: Waiting) -> int:
        """Visits one URL; 1 when its page was saved."""
        if self.source.robots:
            rules = self._rules(item.url)
            if rules is None or not rules.can_fetch(item.url, self.source.user_agent):
                return self._close(item, "robots" if rules is not None else "no_robots")
        result = self.fetcher.get(item.url, self.source.content_types)
        if isinstance(result, Failure):
            return self._close(item, result.outcome, status=result.status, detail=result.detail)
        if 300 <= result.status < 400:
            return self._redirect(item, result)
        if not 200 <= result.status < 300:
            return self._close(item, "http", status=result.status, detail=f"{result.status} {result.reason}".strip())
        return self._save(item, result)

    def _save(self, item: Waiting, page: Page) -> int:
        links: list[str] = []
        if item.depth < self.source.max_depth and page.media_type() in _HTML:
            links = page_links(page.decoded(self.source.max_page_bytes), item.url, page.charset())
        head = http_head(page.version, page.status, page.reason, page.headers, len(page.body), self.source.date)
        with self.frontier.transaction():
            place = self.archive.response(item.url, head, page.body, ip=page.ip, fetched=page.fetched)
            self._enqueue(links, item.depth + 1)
            self.frontier.finish(
                item.id, "saved", status=page.status, file=place.file, offset=place.start, stop=place.stop
            )
        if self.progress is not None:
            self.progress.advance(1, note=item.url)
        return 1

    def _redirect(self, item: Waiting, page: Page) -> int:
        target = clean_url(page.header("location"), item.url) if page.header("location") else None
        refusal = self.scope.refusal(target) if target is not None else None
        detail = target or "no usable Location"
        if refusal is not None:
            detail = f"{detail} (out of scope: {refusal})"
        with self.frontier.transaction():
            if target is not None and refusal is None:
                self.frontier.add([(target, url_key(target))], item.depth)
            self.frontier.finish(item.id, "redirect", status=page.status, detail=detail)
        return 0

    def _close(self, item: Waiting, outcome: str, *, status: int | None = None, detail: str = "") -> int:
        with self.frontier.transaction():
            self.frontier.finish(item.id, outcome, status=status, detail=detail)
        return 0

    def _enqueue(self, links: list[str], depth: int) -> None:
        refused: dict[str, int] = dict(self.frontier.get("out_of_scope") or {})
        before = sum(refused.values())
        wanted: list[tuple[str, str]] = []
        for link in links:
            refusal = self.scope.refusal(link)
            if refusal is None:
                wanted.append((link, url_key(link)))
            else:
                refused[refusal] = refused.get(refusal, 0) + 1
        self.frontier.add(wanted, depth)
        if sum(refused.values()) != before:
            self.frontier.put("out_of_scope", dict(sorted(refused.items())))

    def _rules(self, url: str) -> Protego | None:
        """The robots.txt rules of a URL's host; None when they could not be had, which forbids everything."""
        host = host_of(url)
        if host not in self.robots:
            name = f"robots {url.partition('://')[0]}://{host}"
            kept: list[str | None] | None = self.frontier.get(name)
            if kept is None:
                kept = [self._robots_text(url)]
                with self.frontier.transaction():
                    self.frontier.put(name, kept)
            text = kept[0]
            rules = Protego.parse(text) if text is not None else None
            self.robots[host] = rules
            delay = rules.crawl_delay(self.source.user_agent) if rules is not None else None
            if delay:
                self.fetcher.delays[host] = float(delay)
        return self.robots[host]

    def _robots_text(self, url: str) -> str | None:
        target: str | None = f"{url.partition('://')[0]}://{host_of(url)}/robots.txt"
        for _ in range(6):  # RFC 9309 §2.3.1.2: at least five redirects are followed
            answer = self.fetcher.get(target) if target is not None else None
            if isinstance(answer, Failure):
                return None
            if answer is None:
                return ""
            if 300 <= answer.status < 400 and answer.header("location"):
                target = clean_url(answer.header("location"), answer.url)
                continue
            if 400 <= answer.status < 500:
                return ""
            if not 200 <= answer.status < 300:
                return None
            return answer.decoded(_ROBOTS_MAX_BYTES)[:_ROBOTS_MAX_BYTES].decode("utf-8", "replace")
        return ""


def _seed(seed: str) -> str:
    cleaned = clean_url(seed)
    if cleaned is None:
        raise ConfigError(f"cannot crawl {seed!r}", expected="an address such as https://docs.example.org/")
    return cleaned


def make_fetcher(
    source: CrawlSource,
    connect_to: dict[str, tuple[str, int]] | None = None,
    on_connection_error: Callable[[], None] | None = None,
) -> Fetcher:
    """The fetcher that a source asks for; `connect_to` (which may change later) is added to the source's own rules."""
    targets = connect_to if connect_to is not None else {}
    for rule in source.connect_to:
        host, port, rest = rule.split(":", 2)
        address, _, target_port = rest.rpartition(":")
        targets[f"{host}:{port}"] = (address.strip("[]"), int(target_port))
    return Fetcher(
        user_agent=source.user_agent, rate=source.rate, retries=source.retries,
        backoff_seconds=source.backoff_seconds, timeout_seconds=source.timeout_seconds,
        max_bytes=source.max_page_bytes, connect_to=targets, on_connection_error=on_connection_error,
    )  # fmt: skip
