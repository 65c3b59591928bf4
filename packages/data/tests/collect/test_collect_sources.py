"""Trees, the language reference, existing WARC files, and the collect stage as a whole."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from collect_site import links, pages, serve

from headwater.core.config import validate
from headwater.core.errors import ConfigError, StorageError
from headwater.core.lock import exclusive
from headwater.core.manifest import read_manifest
from headwater.data.collect import pydoc_serve, topics, tree, warc_writer
from headwater.data.collect.cli import collect as collect_command
from headwater.data.collect.cli import crawl as crawl_command
from headwater.data.collect.collect import collect
from headwater.data.collect.frontier import Frontier
from headwater.data.collect.sources import SourcesConfig, TopicsSource, TreeSource, WarcSource
from headwater.data.collect.warc_reader import Record, read_records

DATE = datetime(2026, 1, 1, tzinfo=UTC)


def make_tree(root: Path) -> Path:
    for name, content in {
        "a.py": b"x = 1\n", "pkg/b.py": b"y = 2\n", "pkg/deep/c.py": b"# -*- coding: latin-1 -*-\n# caf\xe9\n",
        "pkg/tests/t.py": b"", "notes.md": b"# Notes\n", "data.py": b"\0\1\2", "big.py": b"#" * 5000,
        "__pycache__/a.py": b"", ".git/x.py": b"",
    }.items():  # fmt: skip
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "link.py").symlink_to(root / "a.py")
    (root / "loop").symlink_to(root)
    return root


def source(root: Path, **given) -> TreeSource:
    return TreeSource(paths={"python://mine/": str(root)}, date=DATE, **given)


def read(folder: Path) -> dict[str, Record]:
    items = [item for path in sorted(folder.glob("*.warc.gz")) for item in read_records(path)]
    return {item.url: item for item in items if isinstance(item, Record)}


def test_tree_takes_matching_text_files_under_stable_names(tmp_path):
    root = make_tree(tmp_path / "tree")
    wanted = source(root, include=("*.py", "*.md"), exclude=("*/tests/*",), max_file_size=1000)
    result = collect("code", wanted, tmp_path / "a")
    found = read(tmp_path / "a")
    assert list(found) == [f"python://mine/{name}" for name in ("a.py", "notes.md", "pkg/b.py", "pkg/deep/c.py")]
    record = found["python://mine/pkg/deep/c.py"]
    assert (record.warc_type, record.content_type, record.http_status) == ("resource", "text/x-python", None)
    assert record.payload.endswith(b"caf\xe9\n") and record.date == "2026-01-01T00:00:00Z"
    assert found["python://mine/notes.md"].content_type == "text/markdown"
    assert result.manifest.counters == {"files": 4, "bytes": 53, "skipped": {"binary": 1, "large": 1}}


def test_tree_again_and_after_a_change(tmp_path):
    root = make_tree(tmp_path / "tree")
    first = collect("code", source(root), tmp_path / "a")
    assert collect("code", source(root), tmp_path / "a").fresh is False
    assert collect("code", source(root), tmp_path / "b").manifest == first.manifest
    (root / "a.py").write_bytes(b"x = 2\n")
    changed = collect("code", source(root), tmp_path / "a")
    assert changed.fresh and changed.manifest.digest != first.manifest.digest
    assert read(tmp_path / "a")["python://mine/a.py"].payload == b"x = 2\n"


def test_tree_limits_take_a_sample_that_hardly_moves(tmp_path):
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(200):
        (root / f"{number:03}.py").write_text(f"n = {number}\n")
    chosen = tree.select(source(root, max_files=50))
    names = [file.uri for file in chosen.files]
    assert len(names) == 50 and names == sorted(names) and chosen.skipped["limit"] == 150
    assert len([name for name in names if name > "python://mine/100.py"]) in range(12, 39)
    (root / "new.py").write_text("n = 1\n")
    assert len(set(names) - {file.uri for file in tree.select(source(root, max_files=50)).files}) <= 1
    assert sum(file.bytes for file in tree.select(source(root, max_bytes=300)).files) in range(290, 301)


def test_tree_of_the_standard_library(tmp_path):
    chosen = tree.select(TreeSource(paths={"python://stdlib/": "{stdlib}"}, include=("json/*.py",)))
    assert "python://stdlib/json/decoder.py" in [file.uri for file in chosen.files]
    everything = tree.select(TreeSource(paths={"python://stdlib/": "{stdlib}"}, include=("*.py",), max_files=200))
    assert not [file.uri for file in everything.files if "site-packages" in file.uri]


def test_tree_that_is_not_there_or_empty_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="has no folder"):
        collect("code", source(tmp_path / "missing"), tmp_path / "a")
    with pytest.raises(ConfigError, match="no file of the tree matches"):
        collect("code", source(make_tree(tmp_path / "tree"), include=("*.zig",)), tmp_path / "a")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_no_artifact(tmp_path, monkeypatch):
    real = os.open

    def full(path: Path, flags: int, mode: int = 0o777) -> int:
        return real("/dev/full", os.O_WRONLY) if str(path).endswith(".warc.gz") else real(path, flags, mode)

    monkeypatch.setattr(warc_writer.os, "open", full)
    with pytest.raises(StorageError, match="No space left on device"):
        collect("code", source(make_tree(tmp_path / "tree")), tmp_path / "a")
    assert not (tmp_path / "a/manifest.json").exists()
    monkeypatch.setattr(warc_writer.os, "open", real)
    assert collect("code", source(tmp_path / "tree"), tmp_path / "a").fresh


def test_crawl_state_on_a_full_disk_is_a_storage_error(tmp_path):
    frontier = Frontier(tmp_path / "state.sqlite")
    with frontier.transaction():
        frontier.add([("http://site.test/", "http://site.test/")], 0)
    frontier._db.execute("PRAGMA max_page_count = 8")  # SQLite then answers as on a full disk
    with pytest.raises(StorageError, match="database or disk is full"), frontier.transaction():
        frontier.add([(f"http://site.test/{n}", f"http://site.test/{n}") for n in range(10_000)], 1)
    assert frontier.counts() == {"waiting": 1}


def test_reference_holds_every_topic(tmp_path):
    result = collect("reference", TopicsSource(date=DATE), tmp_path / "a")
    found = read(tmp_path / "a")
    assert len(found) == len(topics.topics()) == result.manifest.counters["files"] > 50
    lambdas = found["python://reference/lambda"]
    assert lambdas.payload.decode().startswith("Lambdas\n*******")
    assert (lambdas.content_type, lambdas.charset) == ("text/plain", "utf-8")
    assert collect("reference", TopicsSource(date=DATE), tmp_path / "b").manifest == result.manifest


def test_warc_files_are_taken_in_unchanged(tmp_path):
    collect("reference", TopicsSource(date=DATE), tmp_path / "a")
    mine = WarcSource(files=(str(tmp_path / "a/*.warc.gz"),))
    result = collect("mine", mine, tmp_path / "b")
    name = "reference-00000.warc.gz"
    assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    assert result.summary().startswith("1 file (")
    assert collect("mine", mine, tmp_path / "b").fresh is False
    with pytest.raises(ConfigError, match="no WARC file matches"):
        collect("mine", WarcSource(files=("nothing/*.warc.gz",)), tmp_path / "c")
    with pytest.raises(ConfigError, match="the same name"):
        collect("mine", WarcSource(files=(str(tmp_path / "a/*.gz"), str(tmp_path / "b/*.gz"))), tmp_path / "c")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"web": {"kind": "crawl", "seeds": ["http://x/"], "max_page": 3}}, "max_pages"),
        ({"web": {"kind": "crawl", "seeds": ["http://x/"], "rate": -1}}, "rate"),
        ({"web": {"kind": "crawler"}}, "crawl"),
        ({"Web!": {"kind": "pydoc-topics"}}, "no source name"),
        ({"code": {"kind": "tree"}}, "paths"),
    ],
)
def test_wrong_sources_are_refused_by_name(sources, message):
    with pytest.raises(ConfigError, match=message):
        validate(SourcesConfig, sources, "sources")


def test_a_date_without_time_zone_is_utc():
    given = {"reference": {"kind": "pydoc-topics", "date": "2026-01-01"}}
    source = validate(SourcesConfig, given, "sources").root["reference"]
    assert isinstance(source, TopicsSource) and source.date == DATE


RECIPE = """
name: small
sources:
  web: {kind: crawl, serve: pydoc, max_pages: 12, rate: 0, date: 2026-01-01T00:00:00Z, exclude: ['[?]'],
        include: ['/(index|json[.a-z]*|textwrap|shlex|string|sys|antigravity)[.]html$', 'localhost/$']}
  reference: {kind: pydoc-topics, date: 2026-01-01T00:00:00Z}
"""


def test_the_stage_twice_gives_the_same_bytes_and_no_trace_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_TEST_SECRET", "do-not-leak-9d1c")
    (tmp_path / "small.yaml").write_text(RECIPE.replace("|antigravity", ""))
    said = []
    for run in ("one", "two", "one"):
        arguments = ["--recipe", str(tmp_path / "small.yaml"), "--run", str(tmp_path / run)]
        result = CliRunner().invoke(collect_command, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        said.append(result.output)
    first, second = (
        {path.relative_to(tmp_path / run): path.read_bytes() for path in (tmp_path / run).rglob("*") if path.is_file()}
        for run in ("one", "two")
    )
    assert first == second
    assert said[0].startswith("collect: web: ") and said[2] == said[0].replace("collect: ", "collect: up to date · ")
    found = read(tmp_path / "one/raw/web")
    assert {"http://pydoc.localhost/", "http://pydoc.localhost/json.decoder.html"} <= set(found)
    everything = b"".join(record.payload for record in found.values())
    assert b"JSONDecodeError" in everything
    machine = (str(Path(pydoc_serve.__file__).parent), sys.prefix, sys.base_prefix, os.uname().release)
    for secret in (*machine, str(tmp_path), "do-not-leak-9d1c", "127.0.0.1"):
        assert secret.encode() not in everything
    assert read_manifest(tmp_path / "one/raw/web").counters["pages"] == len(found)


def test_crawl_command_reports_in_one_line_or_as_json(tmp_path):
    site_pages = {"/": links("/1", "/2"), "/1": links()}
    with serve(pages(site_pages)) as site:
        arguments = ["http://site.test/", "--out", str(tmp_path / "a"), "--rate", "0", "--connect-to", site.rule]
        result = CliRunner().invoke(crawl_command, [*arguments, "--date", "1767225600"])
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("crawl: 2 pages, 1 answered with an error (")
        assert result.stdout.count("\n") == 1 and result.stdout.endswith(f"→ {tmp_path / 'a'}\n")
        again = CliRunner().invoke(crawl_command, [*arguments, "--date", "2026-01-01", "--json"])
        with pytest.raises(ConfigError, match="other settings"):
            CliRunner().invoke(crawl_command, [*arguments, "--max-pages", "9"], catch_exceptions=False)
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine/web-00000.warc.gz").write_bytes(b"somebody's")
        with pytest.raises(ConfigError, match="is in use"):
            CliRunner().invoke(crawl_command, [*arguments, "--out", str(tmp_path / "mine")], catch_exceptions=False)
    report = json.loads(again.stdout)["web"]
    assert report["fresh"] is False and report["counters"]["pages"] == 2
    assert report["files"] == ["crawl.jsonl", "web-00000.warc.gz"]
    assert (tmp_path / "a/web-00000.warc.gz").exists()
    assert (tmp_path / "mine/web-00000.warc.gz").read_bytes() == b"somebody's"
    wrong = CliRunner().invoke(crawl_command, ["http://site.test/", "--out", str(tmp_path / "b"), "--date", "soon"])
    assert wrong.exit_code == 2 and "neither an ISO 8601 date nor seconds" in wrong.output


def test_one_process_collects_into_a_folder_at_a_time(tmp_path):
    with exclusive(tmp_path / "out"), pytest.raises(StorageError, match="another process is writing"):
        collect("reference", TopicsSource(), tmp_path / "out")
