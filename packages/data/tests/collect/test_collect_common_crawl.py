"""Fetching from a server with Common Crawl's layout: collinfo.json, a CDX index in pages, range requests."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from click.testing import CliRunner
from collect_site import Answer, Site, serve
from fastwarc import ArchiveIterator

from headwater.core.errors import DataError
from headwater.data.collect.collect import Collected, collect_common_crawl
from headwater.data.collect.fetch_cli import fetch as fetch_command
from headwater.data.collect.fetcher import Fetcher
from headwater.data.collect.warc_reader import Record, read_records
from headwater.data.collect.warc_writer import WarcArchive

CRAWL = "CC-MAIN-2026-05"
FILE = f"crawl-data/{CRAWL}/segments/1/warc/CC-MAIN-00000.warc.gz"
COUNT = 12


class Archive:
    """The server: `slow_downs` answers 503 first for that many range requests, `broken` damages a record."""

    def __init__(self, folder: Path, slow_downs: int = 0, broken: int | None = None, page_lines: int = 5) -> None:
        folder.mkdir()
        with WarcArchive(folder, "cc", info={}) as archive:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
            places = [archive.response(f"https://example.org/{n}", head, b"<p>page %d" % n * 40) for n in range(COUNT)]
        data = bytearray((folder / "cc-00000.warc.gz").read_bytes())
        self.members = [bytes(data[place.start : place.stop]) for place in places]
        if broken is not None:
            data[places[broken].start + 40] ^= 0xFF
        self.data = bytes(data)
        self.lines = [
            json.dumps(
                {"urlkey": f"org,example)/{n}", "timestamp": "20260101000000", "url": f"https://example.org/{n}",
                 "mime": "text/html", "status": "200", "digest": "X", "length": str(place.stop - place.start),
                 "offset": str(place.start), "filename": FILE}
            )
            for n, place in enumerate(places)
        ]  # fmt: skip
        self.slow_downs = slow_downs
        self.page_lines = page_lines

    def __call__(self, site: Site, path: str, headers: dict[str, str]) -> Answer:
        parts = urlsplit(path)
        query = dict(parse_qsl(parts.query))
        if parts.path == "/collinfo.json":
            return Answer(json.dumps([{"id": CRAWL}, {"id": "CC-MAIN-2025-51"}]).encode(), type="application/json")
        if parts.path == f"/{CRAWL}-index":
            assert query["output"] == "json"
            if not query["url"].startswith("example.org"):
                return Answer(b'{"message": "No Captures found for: %s"}' % query["url"].encode(), status=404)
            if "showNumPages" in query:
                pages = -(-len(self.lines) // self.page_lines)
                return Answer(json.dumps({"pages": pages, "pageSize": 5, "blocks": 1}).encode())
            start = int(query["page"]) * self.page_lines
            return Answer("\n".join(self.lines[start : start + self.page_lines]).encode() + b"\n")
        if parts.path == f"/{FILE}":
            return self.range(headers)
        return Answer(b"<html>404 Not Found</html>", status=404)

    def range(self, headers: dict[str, str]) -> Answer:
        if self.slow_downs:
            self.slow_downs -= 1
            return Answer(b"<Code>SlowDown</Code>", status=503)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", ""))
        if wanted is None:
            return Answer(self.data)
        first, last = int(wanted[1]), int(wanted[2])
        if first >= len(self.data):
            return Answer(status=416, headers={"Content-Range": f"bytes */{len(self.data)}"})
        part = self.data[first : last + 1]
        span = f"bytes {first}-{first + len(part) - 1}/{len(self.data)}"
        return Answer(part, status=206, headers={"Content-Range": span}, type="application/octet-stream")


def run(archive: Archive, folder: Path, waits: list[float] | None = None, **given) -> tuple[Collected, Site]:
    with serve(archive) as site, Fetcher("test", rate=0, retries=3) as fetcher:
        fetcher.sleep = (waits if waits is not None else []).append
        asked = {"crawl": CRAWL, "pattern": "example.org/*", "limit": 100, "filters": (), **given}
        url = f"http://127.0.0.1:{site.port}"
        return collect_common_crawl("cc", folder, fetcher, index_url=url, data_url=url, **asked), site


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "fetched.jsonl").read_text().splitlines()]


def test_members_are_fetched_unchanged(tmp_path):
    archive = Archive(tmp_path / "server")
    result, site = run(archive, tmp_path / "out")
    assert (tmp_path / "out/cc-00000.warc.gz").read_bytes() == b"".join(archive.members)
    urls = [item.url for item in read_records(tmp_path / "out/cc-00000.warc.gz") if isinstance(item, Record)]
    assert urls == [f"https://example.org/{n}" for n in range(COUNT)]
    assert len(list(ArchiveIterator(str(tmp_path / "out/cc-00000.warc.gz")))) == COUNT
    assert result.manifest.counters == {"records": COUNT, "captures": {"saved": COUNT}}
    ranges = [headers["range"] for path, headers in site.log if path == f"/{FILE}"]
    assert len(ranges) == COUNT and ranges[0].startswith("bytes=")
    again, site = run(archive, tmp_path / "out")
    assert not again.fresh and site.log == []


def test_limit_filters_and_slow_down(tmp_path):
    waits: list[float] = []
    archive = Archive(tmp_path / "server", slow_downs=2)
    result, site = run(archive, tmp_path / "out", waits, limit=7, filters=("=status:200", "~mime:text/.*"))
    assert result.manifest.counters["records"] == 7
    assert waits == [1.0, 2.0]
    index = [path for path, _ in site.log if "-index" in path]
    assert len(index) == 3 and all("filter=%3Dstatus%3A200&filter=~mime%3Atext%2F.%2A" in path for path in index)


def test_damaged_and_missing_records_are_set_aside(tmp_path):
    archive = Archive(tmp_path / "server", broken=3)
    outside = json.loads(archive.lines[5])
    archive.lines[5] = json.dumps({**outside, "offset": "99999999"})
    archive.lines[7] = json.dumps({**outside, "filename": "crawl-data/away.warc.gz"})
    archive.lines[8] = "this line is no JSON"
    archive.lines[11] = json.dumps({**json.loads(archive.lines[11]), "length": "999999"})
    result, _ = run(archive, tmp_path / "out")
    outcomes = {entry["url"].rpartition("/")[2]: entry["outcome"] for entry in log(tmp_path / "out")}
    assert outcomes["3"] == "bad_record" and outcomes["5"] == "http" and outcomes["11"] == "short"
    assert result.manifest.counters == {
        "records": 7, "captures": {"bad_record": 1, "http": 2, "saved": 7, "short": 1},
    }  # fmt: skip


def test_a_server_that_ignores_ranges_is_noticed(tmp_path):
    archive = Archive(tmp_path / "server")
    archive.range = lambda headers: Answer(archive.data)  # type: ignore[method-assign]
    with pytest.raises(DataError, match="could be fetched"):
        run(archive, tmp_path / "out")
    assert not (tmp_path / "out/manifest.json").exists()


def test_unknown_crawl_and_no_captures_are_told_apart(tmp_path):
    archive = Archive(tmp_path / "server")
    with pytest.raises(DataError, match="does not know CC-MAIN-1999-01"):
        run(archive, tmp_path / "out", crawl="CC-MAIN-1999-01")
    with pytest.raises(DataError, match=r"has no capture of elsewhere\.org"):
        run(archive, tmp_path / "out", pattern="elsewhere.org/*")


@pytest.mark.parametrize("request_number", [3, 8, 14])
def test_a_killed_fetch_goes_on(tmp_path, request_number):
    archive = Archive(tmp_path / "server")
    process: list[subprocess.Popen[bytes]] = []

    def deadly(site: Site, path: str, headers: dict[str, str]) -> Answer:
        if len(site.log) == request_number and len(process) == 1:
            os.kill(process[0].pid, signal.SIGKILL)
            process[0].wait()
        return archive(site, path, headers)

    out = tmp_path / "out"
    with serve(deadly) as site:
        url = f"http://127.0.0.1:{site.port}"
        arguments = ["common-crawl", "example.org/*", "--crawl", CRAWL, "--out", str(out), "--rate", "0"]
        arguments += ["--name", "cc", "--index-url", url, "--data-url", url]
        program = (
            "import sys; from headwater.data.collect.fetch_cli import fetch\n"
            "sys.stdin.readline(); fetch(sys.argv[1:], prog_name='fetch')"
        )
        process.append(subprocess.Popen([sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE))
        process[0].communicate(b"go\n")
        assert process[0].returncode == -signal.SIGKILL
        for path in (out / "_work").rglob("cc-*.warc.gz"):
            path.write_bytes(path.read_bytes() + b"\x1f\x8b\x08torn")
        for path in (out / "_work").rglob("fetched.jsonl"):
            path.write_bytes(path.read_bytes() + b'{"url": "torn')
        process.append(process[0])
        resumed = CliRunner().invoke(fetch_command, arguments)
    assert resumed.exit_code == 0, resumed.output
    assert (out / "cc-00000.warc.gz").read_bytes() == b"".join(archive.members)
    assert "fetch: 12 records" in resumed.output
    whole_requests = 1 + 3 + COUNT
    assert len(site.log) <= whole_requests + request_number


def test_the_command_lists_crawls_and_names_what_is_missing(tmp_path):
    with serve(Archive(tmp_path / "server")) as site:
        url = f"http://127.0.0.1:{site.port}"
        listed = CliRunner().invoke(fetch_command, ["common-crawl", "--list", "--index-url", url])
    assert listed.output == f"{CRAWL}\nCC-MAIN-2025-51\n"
    missing = CliRunner().invoke(fetch_command, ["common-crawl", "example.org/*"])
    assert missing.exit_code == 2 and "missing --crawl, --out" in missing.output


def test_gzip_of_the_index_is_undone(tmp_path):
    archive = Archive(tmp_path / "server")

    def packed(site: Site, path: str, headers: dict[str, str]) -> Answer:
        answer = archive(site, path, headers)
        if answer.status == 200:
            answer = Answer(gzip.compress(answer.body), headers={"Content-Encoding": "gzip"})
        return answer

    with serve(packed) as site, Fetcher("test", rate=0) as fetcher:
        url = f"http://127.0.0.1:{site.port}"
        result = collect_common_crawl(
            "cc", tmp_path / "out", fetcher, crawl=CRAWL, pattern="example.org/*", limit=3, filters=(),
            index_url=url, data_url=url,
        )  # fmt: skip
    assert result.manifest.counters["records"] == 3
