"""The crawler against a real HTTP server on loopback."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from collect_site import Answer, Handler, Site, links, pages, serve
from fastwarc import ArchiveIterator
from warcio.archiveiterator import ArchiveIterator as WarcioIterator
from warcio.checker import Checker

from headwater.core.errors import ConfigError, DataError, StorageError
from headwater.data.collect import warc_writer
from headwater.data.collect.collect import Collected, collect
from headwater.data.collect.crawler import crawl, make_fetcher
from headwater.data.collect.sources import CrawlSource
from headwater.data.collect.warc_reader import Record, read_records

pytestmark = pytest.mark.slow


DATE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SITE = "http://site.test/"


def source(site: Site, **given: Any) -> CrawlSource:
    given = {"seeds": [SITE], "rate": 0, "date": DATE, "backoff_seconds": 0, "retries": 2, **given}
    return CrawlSource.model_validate({**given, "connect_to": [site.rule]})


def run(handler: Handler, folder: Path, **given: Any) -> tuple[Collected, Site]:
    with serve(handler) as site:
        return collect("web", source(site, **given), folder), site


def log(folder: Path) -> dict[str, dict[str, Any]]:
    entries = [json.loads(line) for line in (folder / "crawl.jsonl").read_text().splitlines()]
    return {entry["url"].removeprefix("http://site.test"): entry for entry in entries}


def records(folder: Path) -> list[Record]:
    found = [item for path in sorted(folder.glob("*.warc.gz")) for item in read_records(path)]
    assert all(isinstance(item, Record) for item in found)
    return [item for item in found if isinstance(item, Record)]


def saved(folder: Path) -> list[str]:
    return [record.url.removeprefix("http://site.test") for record in records(folder)]


CHAIN = {f"/{n}": links(f"/{n + 1}") for n in range(1, 9)}


def test_breadth_first_and_each_page_once(tmp_path):
    site_pages = {
        "/": links("/a", "b?y=2&x=1", "#top", "mailto:me@site.test", "http://elsewhere.test/"),
        "/a": links("/c", "/", "/b?x=1&y=2", "HTTP://SITE.TEST:80/a#again", "/d/../c"),
        "/b?y=2&x=1": links("/d"),
        "/c": links(),
        "/d": links("/%7Ea", "/~a"),
        "/~a": links(),
        "/%7Ea": links(),
    }
    result, site = run(pages(site_pages), tmp_path)
    assert saved(tmp_path) == ["/", "/a", "/b?y=2&x=1", "/c", "/d", "/%7Ea"]
    assert site.paths() == saved(tmp_path)
    assert result.manifest.counters["out_of_scope"] == {"host": 1}
    assert [entry["depth"] for entry in log(tmp_path).values()] == [0, 1, 1, 2, 2, 3]


def test_depth_and_page_limits(tmp_path):
    run(pages({"/": links("/1"), **CHAIN}), tmp_path / "depth", max_depth=3)
    assert saved(tmp_path / "depth") == ["/", "/1", "/2", "/3"]
    result, _ = run(pages({"/": links("/1", "/2", "/3"), **CHAIN}), tmp_path / "pages", max_pages=2)
    assert saved(tmp_path / "pages") == ["/", "/1"]
    assert result.manifest.counters["urls"] == {"saved": 2, "waiting": 2}
    assert "2 left beyond the page limit" in result.summary()


def test_include_and_exclude(tmp_path):
    site_pages = {"/": links("/docs/a", "/docs/b?print=1", "/blog"), "/docs/a": links(), "/blog": links()}
    result, _ = run(pages(site_pages), tmp_path, include=["/$", "/docs/"], exclude=[r"print="])
    assert saved(tmp_path) == ["/", "/docs/a"]
    assert result.manifest.counters["out_of_scope"] == {"exclude": 1, "include": 1}


def test_robots_and_nofollow_are_obeyed(tmp_path):
    site_pages = {
        "/robots.txt": Answer(b"User-agent: headwater-crawler\nDisallow: /private\n", type="text/plain"),
        "/": b'<a href="/private/x">x</a><a href="/open">o</a><a rel="external nofollow" href="/ad">ad</a>',
        "/open": b'<meta name="ROBOTS" content="noindex, nofollow"><a href="/hidden">h</a>',
    }
    result, site = run(pages(site_pages), tmp_path)
    assert site.paths() == ["/", "/open"]
    assert log(tmp_path)["/private/x"] == {
        "url": "http://site.test/private/x", "depth": 1, "outcome": "robots",
    }  # fmt: skip
    assert "1 denied by robots.txt" in result.summary()
    assert site.log[0][1]["user-agent"].startswith("headwater-crawler/")


def test_a_host_whose_robots_txt_fails_is_not_visited(tmp_path):
    with pytest.raises(DataError, match=r"saved no page\n.*1 on hosts whose robots.txt could not be fetched"):
        run(pages({"/robots.txt": Answer(status=500), "/": links()}), tmp_path)
    assert not (tmp_path / "manifest.json").exists()
    run(pages({"/": links()}), tmp_path)
    assert saved(tmp_path) == ["/"]


def test_rate_and_crawl_delay_are_waited_for(tmp_path):
    waits: list[float] = []
    robots = Answer(b"User-agent: *\nCrawl-delay: 7\n", type="text/plain")
    with serve(pages({"/robots.txt": robots, "/": links("/1", "/2"), **CHAIN})) as site:
        settings = source(site, rate=2.0, max_pages=3)
        with make_fetcher(settings) as fetcher:
            fetcher.sleep, fetcher.clock = waits.append, lambda: 100.0
            crawl(settings, tmp_path, "web", fetcher)
    # The clock stands still, so every request waits longer: half a second after robots.txt, then 7 seconds each.
    assert waits == [0.5, 7.5, 14.5]


def test_passing_failures_are_retried_and_lasting_ones_recorded(tmp_path):
    waits: list[float] = []
    site_pages = {
        "/": links("/flaky", "/down", "/gone"),
        "/flaky": [Answer(status=503, headers={"Retry-After": "9"}), Answer(status=500), Answer(b"<p>at last</p>")],
        "/down": Answer(status=502),
    }
    with serve(pages(site_pages)) as site:
        settings = source(site, backoff_seconds=1.0)
        with make_fetcher(settings) as fetcher:
            fetcher.sleep = waits.append
            crawl(settings, tmp_path, "web", fetcher)
    assert saved(tmp_path) == ["/", "/flaky"]
    assert waits == [9.0, 2.0, 1.0, 2.0]
    assert site.paths() == ["/", *["/flaky"] * 3, *["/down"] * 3, "/gone"]
    entries = log(tmp_path)
    assert (entries["/down"]["outcome"], entries["/down"]["detail"]) == ("http", "502 Bad Gateway")
    assert (entries["/gone"]["outcome"], entries["/gone"]["status"]) == ("http", 404)


@pytest.mark.parametrize(("error", "outcome"), [(httpx.ReadTimeout, "timeout"), (httpx.ConnectError, "connection")])
def test_broken_connections_are_recorded_without_ports(tmp_path, monkeypatch, error, outcome):
    real = httpx.HTTPTransport.handle_request

    def fail(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/bad":
            raise error("127.0.0.1:54321 is away")
        return real(self, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", fail)
    run(pages({"/": links("/bad")}), tmp_path)
    assert log(tmp_path)["/bad"]["outcome"] == outcome
    assert "54321" not in (tmp_path / "crawl.jsonl").read_text()


def test_redirects_stay_in_scope(tmp_path):
    site_pages = {
        "/": links("/moved", "/away", "/loop", "/nowhere"),
        "/moved": Answer(status=301, headers={"Location": "new#part"}),
        "/new": links(),
        "/away": Answer(status=302, headers={"Location": "http://elsewhere.test/x"}),
        "/loop": Answer(status=302, headers={"Location": "/loop"}),
        "/nowhere": Answer(status=302),
    }
    run(pages(site_pages), tmp_path)
    assert saved(tmp_path) == ["/", "/new"]
    entries = log(tmp_path)
    assert entries["/moved"]["detail"] == "http://site.test/new" and entries["/new"]["depth"] == 1
    assert entries["/away"]["detail"] == "http://elsewhere.test/x (out of scope: host)"
    assert {entries[path]["outcome"] for path in ("/moved", "/away", "/loop", "/nowhere")} == {"redirect"}


def test_other_types_and_large_pages_are_not_saved(tmp_path):
    site_pages = {
        "/": links("/image", "/large", "/plain"),
        "/image": Answer(b"\x89PNG", type="image/png"),
        "/large": b"x" * 3000,
        "/plain": Answer(b"notes", type="text/plain"),
    }
    run(pages(site_pages), tmp_path, max_page_bytes=2000)
    assert saved(tmp_path) == ["/", "/plain"]
    assert log(tmp_path)["/image"]["outcome"] == "content_type"
    assert log(tmp_path)["/large"]["outcome"] == "too_large"


def test_encoded_pages_are_stored_as_sent_and_their_links_found(tmp_path):
    packed = gzip.compress(links("/next"), mtime=0)
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (b"<p>one</p>", b"<p>two</p>")) + b"0\r\n\r\n"
    site_pages = {
        "/": Answer(packed, headers={"Content-Encoding": "gzip", "X-Name": "na\xefve"}),
        "/next": Answer(chunked, headers={"Transfer-Encoding": "chunked"}),
    }
    run(pages(site_pages), tmp_path)
    first, second = records(tmp_path)
    assert first.payload == links("/next") and second.payload == b"<p>one</p><p>two</p>"
    with (tmp_path / "web-00000.warc.gz").open("rb") as file:
        raw = [record.raw_stream.read() for record in WarcioIterator(file) if record.rec_type == "response"]
    assert raw == [packed, b"<p>one</p><p>two</p>"]
    plain = gzip.decompress((tmp_path / "web-00000.warc.gz").read_bytes())
    assert b"X-Name: na\xefve\r\n" in plain
    assert b"X-Crawl-Transfer-Encoding: chunked\r\n" in plain and b"Content-Length: 20\r\n" in plain
    assert b"Date: Fri, 02 Jan 2026 03:04:05 GMT\r\n" in plain


def test_other_tools_read_and_verify_the_files(tmp_path):
    run(pages({"/": links("/1"), **CHAIN}), tmp_path, max_file_bytes=1024)
    files = sorted(tmp_path.glob("*.warc.gz"))
    assert len(files) > 1
    kinds: list[str] = []
    for path in files:
        kinds += [str(record.record_type) for record in ArchiveIterator(str(path), verify_digests=True)]
        with path.open("rb") as file:
            for record in WarcioIterator(file, check_digests="raise"):
                assert record.rec_headers.protocol == "WARC/1.1"
                assert record.rec_headers.get_header("WARC-Block-Digest")
                record.content_stream().read()
        arguments = type("Arguments", (), {"inputs": [str(path)], "verbose": False})
        assert Checker(arguments).process_all() == 0
    assert kinds.count("response") == 9 and kinds.count("warcinfo") == len(files)


def test_two_dated_crawls_are_byte_identical_and_a_third_has_nothing_to_do(tmp_path):
    site_pages = {"/": links("/1", "/away", "/no"), "/away": Answer(status=302, headers={"Location": "/2"}), **CHAIN}
    for name in ("first", "second"):
        result, _ = run(pages(site_pages), tmp_path / name)
        assert result.fresh
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "second")
    )
    assert first == second and set(first) == {"web-00000.warc.gz", "crawl.jsonl", "manifest.json", "volatile.json"}
    again, site = run(pages(site_pages), tmp_path / "first")
    assert not again.fresh and site.log == []


def test_an_undated_crawl_has_clock_and_address(tmp_path):
    run(pages({"/": links()}), tmp_path, date=None)
    plain = gzip.decompress((tmp_path / "web-00000.warc.gz").read_bytes())
    assert b"WARC-IP-Address: 127.0.0.1\r\n" in plain
    assert records(tmp_path)[0].date > "2026-01-02T03:04:05Z"


KILLED = {f"/{n}": links(f"/{n + 1}", f"/{n + 20}", "/1") for n in range(1, 60)}


@pytest.mark.parametrize("request_number", [1, 2, 9, 17])
def test_a_killed_crawl_goes_on_and_ends_with_the_same_bytes(tmp_path, request_number):
    site_pages = {"/": links("/1"), **KILLED}
    limits = {"max_pages": 25, "max_file_bytes": 2048}
    whole, whole_site = run(pages(site_pages), tmp_path / "whole", **limits)
    process: list[subprocess.Popen[bytes]] = []

    def deadly(site: Site, path: str, headers: dict[str, str]) -> Answer:
        if len(site.log) == request_number and len(process) == 1:
            os.kill(process[0].pid, signal.SIGKILL)
            process[0].wait()
        return pages(site_pages)(site, path, headers)

    target = tmp_path / "killed"
    with serve(deadly) as site:
        settings = source(site, **limits)
        program = (
            "import sys; from pathlib import Path; from headwater.data.collect.collect import collect\n"
            "from headwater.data.collect.sources import CrawlSource\n"
            "sys.stdin.readline(); collect('web', CrawlSource.model_validate_json(sys.argv[1]), Path(sys.argv[2]))"
        )
        command = [sys.executable, "-c", program, settings.model_dump_json(), str(target)]
        process.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        process[0].communicate(b"go\n")
        assert process[0].returncode == -signal.SIGKILL
        assert not (target / "manifest.json").exists()
        # A torn member, as a kill in the middle of a write leaves it, must be cut off.
        for path in sorted((target / "_work/crawl").glob("*.warc.gz"))[-1:]:
            path.write_bytes(path.read_bytes() + b"\x1f\x8b\x08torn")
        process.append(process[0])
        resumed = collect("web", settings, target)
    assert resumed.manifest.digest == whole.manifest.digest
    # Only the request during which the crawl was killed was made twice.
    assert len(site.log) == len(whole_site.log) + 1


def test_state_ahead_of_the_archive_starts_over(tmp_path):
    site_pages = {"/": links("/1"), **CHAIN}
    with serve(pages(site_pages)) as site:
        settings = source(site)
        with make_fetcher(settings) as fetcher:
            crawl(settings, tmp_path, "web", fetcher)
            whole = (tmp_path / "web-00000.warc.gz").read_bytes()
            (tmp_path / "web-00000.warc.gz").write_bytes(whole[:500])
            crawl(settings, tmp_path, "web", fetcher)
    assert (tmp_path / "web-00000.warc.gz").read_bytes() == whole


def test_a_full_disk_leaves_no_artifact_and_the_crawl_goes_on_later(tmp_path, monkeypatch):
    site_pages = {"/": links("/1"), **CHAIN}
    whole, _ = run(pages(site_pages), tmp_path / "whole")
    real, room = os.write, [1500]

    def write(descriptor: int, data: Any) -> int:
        if len(data) > room[0]:
            partial = room[0]
            room[0] = 0
            if partial:
                return real(descriptor, bytes(data)[:partial])
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= len(data)
        return real(descriptor, data)

    monkeypatch.setattr(warc_writer.os, "write", write)
    with pytest.raises(StorageError, match="No space left on device"):
        run(pages(site_pages), tmp_path / "full")
    assert not (tmp_path / "full/manifest.json").exists()
    monkeypatch.setattr(warc_writer.os, "write", real)
    resumed, site = run(pages(site_pages), tmp_path / "full")
    assert resumed.manifest.digest == whole.manifest.digest
    assert "/" not in site.paths()


def test_wrong_settings_are_refused_before_anything_starts(tmp_path):
    for wrong in ("ftp://site.test/", "site.test", "http://"):
        with pytest.raises(ConfigError, match="cannot crawl"):
            collect("web", CrawlSource(seeds=(wrong,)), tmp_path)
    with pytest.raises(ConfigError, match="its own seed"):
        collect("web", CrawlSource(seeds=(SITE,), exclude=("site",)), tmp_path)
    with pytest.raises(ValueError, match="regular expression"):
        CrawlSource(seeds=(SITE,), exclude=("(",))
    with pytest.raises(ValueError, match="needs `seeds`"):
        CrawlSource()
    with pytest.raises(ValueError, match="HOST:PORT:ADDRESS:PORT"):
        CrawlSource(seeds=(SITE,), connect_to=("site.test:127.0.0.1",))
