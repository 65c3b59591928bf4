"""The collect stage: one artifact of kind "raw" for each source of a recipe."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from glob import glob
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headwater.core.console import progress, size
from headwater.core.errors import ConfigError, DataError
from headwater.core.lock import exclusive
from headwater.core.manifest import WORK, ArtifactWriter, Manifest, is_artifact
from headwater.core.storage import file_sha256, storage_errors
from headwater.data.collect import common_crawl, files, topics, tree, warc_framing
from headwater.data.collect.crawler import LOG, STATE, crawl, make_fetcher
from headwater.data.collect.fetcher import Fetcher
from headwater.data.collect.pydoc_server import PydocServer, python_fingerprint
from headwater.data.collect.sources import (
    PYDOC_URL,
    USER_AGENT,
    CommonCrawlSource,
    CrawlSource,
    FilesSource,
    Source,
    TopicsSource,
    TreeSource,
    WarcSource,
)
from headwater.data.collect.warc_writer import DEFAULT_MAX_BYTES, WarcArchive


@dataclass(frozen=True, slots=True)
class Collected:
    """What collecting one source did.

    Attributes:
        manifest: the artifact's manifest.
        fresh: whether anything was done (False: it was up to date).
    """

    manifest: Manifest
    fresh: bool

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        files = [entry.path for entry in self.manifest.files]
        counters = self.manifest.counters
        return {"fresh": self.fresh, "digest": self.manifest.digest, "files": files, "counters": counters}

    def summary(self) -> str:
        """What the artifact holds, in a few words."""
        counters = self.manifest.counters
        if "external_bytes" in counters:
            count = counters["files"]
            unit = "file where it is" if count == 1 else "files where they are"
            return f"{count:,} {unit} ({size(counters['external_bytes'])})"
        unit = next((unit for unit in ("pages", "records", "files") if unit in counters), "files")
        count = counters.get(unit, 0)
        parts = [f"{count:,} {unit.removesuffix('s') if count == 1 else unit}"]
        urls: dict[str, int] = counters.get("urls") or counters.get("captures") or {}
        return f"{', '.join([*parts, *_said(urls)])} ({size(self.manifest.total_bytes())})"


_OUTCOMES = {
    "robots": "denied by robots.txt",
    "no_robots": "on hosts whose robots.txt could not be fetched",
    "http": "answered with an error",
    "timeout": "timed out",
    "connection": "unreachable",
    "content_type": "of another type",
    "too_large": "too large",
    "bad_record": "unreadable",
    "short": "incomplete",
    "waiting": "left beyond the page limit",
}


def _said(urls: dict[str, int]) -> list[str]:
    """What became of the URLs that were not saved, in words."""
    return [f"{urls[outcome]:,} {said}" for outcome, said in _OUTCOMES.items() if urls.get(outcome)]


def collect(name: str, source: Source, folder: Path, *, replace: bool = True) -> Collected:
    """Collect one source into `folder`, or go on with it, or find it up to date.

    Args:
        name: the source's name; also the stem of its WARC files.
        source: what to collect.
        folder: folder of the artifact.
        replace: whether a collection made with other settings may be thrown away for this one.

    Raises:
        ConfigError: what the source names is not there.
        DataError: a crawl saved no page, or a server did not start.
        StorageError: another process is collecting there, or the disk refused a write; the same command goes on
            from there.
    """
    if isinstance(source, CommonCrawlSource):
        return _captures(name, source, folder)  # which takes the lock itself
    with exclusive(folder):
        match source:
            case CrawlSource():
                return _crawl(name, source, folder, replace)
            case TreeSource():
                return _tree(name, source, folder, replace)
            case TopicsSource():
                return _topics(name, source, folder, replace)
            case WarcSource():
                return _warc(name, source, folder, replace)
            case FilesSource():
                return _files(name, source, folder)


def _writer(folder: Path, name: str, source: Source, **found: Any) -> ArtifactWriter:
    """The artifact's writer. Where a server listens decides nothing about the pages, so it is not part of the key."""
    config = {"source": source.model_dump(mode="json", exclude={"connect_to"}), **found}
    producer = f"headwater-data {version('headwater-data')}"
    return ArtifactWriter(folder, kind="raw", name=name, producer=producer, config=config)


def _begin(writer: ArtifactWriter, replace: bool) -> Path:
    """Opens the artifact, unless that would throw away what somebody may still want.

    Raises:
        ConfigError: the folder holds files of that name that are not this collection's.
    """
    folder = writer.folder
    if replace or not folder.is_dir():
        return writer.begin()
    work, held = folder / WORK, None
    if is_artifact(folder):
        held = "a collection made with other settings, or changed since"
    elif work.is_dir():
        if not writer.has_begun() and any(work.rglob("*.warc.gz")):
            held = "an unfinished collection with other settings"
    else:
        held = next((path.name for path in folder.glob(f"{writer.name}-*.warc.gz")), None)
    if held is not None:
        raise ConfigError(f"{folder} is in use", found=held, hint="choose another --out, or remove the folder")
    return writer.begin()


def _crawl(name: str, source: CrawlSource, folder: Path, replace: bool) -> Collected:
    writer = _writer(folder, name, source, **({"served_by": python_fingerprint()} if source.serve else {}))
    if manifest := writer.up_to_date():
        return Collected(manifest, fresh=False)
    work = _begin(writer, replace) / "crawl"
    with progress(source.max_pages, f"crawl {name}") as bar:
        if source.serve is None:
            with make_fetcher(source) as fetcher:
                result = crawl(source, work, name, fetcher, bar)
        else:
            served = source if source.seeds else source.model_copy(update={"seeds": (PYDOC_URL,)})
            with (
                PydocServer() as server,
                make_fetcher(served, server.connect_to, server.revive) as fetcher,
            ):
                result = crawl(served, work, name, fetcher, bar)
    if not result.counters["pages"]:
        for state in work.glob(f"{STATE}*"):  # so that the same command tries again
            state.unlink()
        raise DataError(
            f"the crawl of {name} saved no page", found=", ".join(_said(result.counters["urls"])),
            hint=f"see the reason for each URL in {work / LOG}, then run the same command again",
        )  # fmt: skip
    return Collected(_finish(writer, result.files, result.counters), fresh=True)


def _tree(name: str, source: TreeSource, folder: Path, replace: bool) -> Collected:
    selection = tree.select(source)
    writer = _writer(folder, name, source, content=selection.fingerprint())
    if manifest := writer.up_to_date():
        return Collected(manifest, fresh=False)
    work = _empty(_begin(writer, replace) / "tree")
    info = {"description": "files of " + ", ".join(source.paths)}
    with (
        progress(len(selection.files), f"read {name}") as bar,
        WarcArchive(work, name, info=info, max_bytes=source.max_file_bytes, date=source.date) as archive,
    ):
        counters = tree.write(selection, archive, bar)
    return Collected(_finish(writer, archive.files(), counters), fresh=True)


def _topics(name: str, source: TopicsSource, folder: Path, replace: bool) -> Collected:
    writer = _writer(folder, name, source, python=python_fingerprint()["python"])
    if manifest := writer.up_to_date():
        return Collected(manifest, fresh=False)
    work = _empty(_begin(writer, replace) / "topics")
    info = {"description": "Python language reference (pydoc_data.topics)"}
    with WarcArchive(work, name, info=info, max_bytes=source.max_file_bytes, date=source.date) as archive:
        counters = topics.write(archive)
    return Collected(_finish(writer, archive.files(), counters), fresh=True)


def _warc(name: str, source: WarcSource, folder: Path, replace: bool) -> Collected:
    paths: list[Path] = []
    for pattern in source.files:
        found = [Path(match) for match in sorted(glob(str(Path(pattern).expanduser()), recursive=True))]  # noqa: PTH207
        if not found:
            raise ConfigError(f"no WARC file matches {pattern}", expected="a path or a glob pattern of WARC files")
        paths += found
    twice = {path.name for path in paths if [other.name for other in paths].count(path.name) > 1}
    if twice:
        raise ConfigError(f"two WARC files of source {name} have the same name", found=", ".join(sorted(twice)))
    content = [[path.name, file_sha256(path)] for path in paths]
    writer = _writer(folder, name, source, content=content)
    if manifest := writer.up_to_date():
        return Collected(manifest, fresh=False)
    work = _empty(_begin(writer, replace) / "warc")
    with progress(len(paths), f"copy {name}") as bar:
        for path in paths:
            with storage_errors("copy", path):
                shutil.copyfile(path, work / path.name)
            bar.advance(1, note=path.name)
    return Collected(_finish(writer, [work / path.name for path in paths], {"files": len(paths)}), fresh=True)


def _files(name: str, source: FilesSource, folder: Path) -> Collected:
    found = files.look(source, folder)
    producer = f"headwater-data {version('headwater-data')}"
    config = {"source": source.content(), "content": found.fingerprint()}
    writer = ArtifactWriter(folder, kind="raw", name=name, producer=producer, config=config)
    if (manifest := writer.up_to_date()) and files.in_place(folder, found):
        return Collected(manifest, fresh=False)
    _begin(writer, replace=True)
    listing, place = files.write(folder, found)
    return Collected(writer.commit(found.counters(), files=[listing], volatile=[place]), fresh=True)


def _captures(name: str, source: CommonCrawlSource, folder: Path) -> Collected:
    with Fetcher(
        user_agent=USER_AGENT, rate=source.rate, retries=source.retries, timeout_seconds=source.timeout_seconds,
        max_bytes=warc_framing.MAX_RECORD_BYTES,
    ) as fetcher:  # fmt: skip
        return collect_common_crawl(
            name, folder, fetcher, crawl=source.crawl, pattern=source.pattern, limit=source.limit,
            filters=source.filters, index_url=source.index_url, data_url=source.data_url, replace=True,
        )  # fmt: skip


def collect_common_crawl(
    name: str, folder: Path, fetcher: Fetcher, *, crawl: str, pattern: str, limit: int, filters: tuple[str, ...],
    index_url: str, data_url: str, replace: bool = False,
) -> Collected:  # fmt: skip
    """Fetch captures of Common Crawl into `folder`, or go on with it, or find it up to date.

    Args:
        name: the artifact's name; also the stem of its WARC files.
        folder: folder of the artifact.
        fetcher: does the requests and the waiting.
        crawl: as `common_crawl.fetch`.
        pattern: as `common_crawl.fetch`.
        limit: as `common_crawl.fetch`.
        filters: as `common_crawl.fetch`.
        index_url: as `common_crawl.fetch`.
        data_url: as `common_crawl.fetch`.
        replace: as `collect`.

    Raises:
        DataError: the index cannot be asked, or there is nothing to fetch.
        StorageError: another process is collecting there, or the disk refused a write; the same command goes on
            from there.
    """
    asked = {"crawl": crawl, "pattern": pattern, "limit": limit, "filters": list(filters)}
    producer = f"headwater-data {version('headwater-data')}"
    with exclusive(folder):
        writer = ArtifactWriter(folder, kind="raw", name=name, producer=producer, config={"common_crawl": asked})
        if manifest := writer.up_to_date():
            return Collected(manifest, fresh=False)
        work = _begin(writer, replace) / "common-crawl"
        with progress(limit, f"fetch {name}") as bar:
            result = common_crawl.fetch(
                work, name, fetcher, crawl=crawl, pattern=pattern, limit=limit, filters=filters, index_url=index_url,
                data_url=data_url, max_file_bytes=DEFAULT_MAX_BYTES, progress=bar,
            )  # fmt: skip
        if not result.counters["records"]:
            raise DataError(
                f"no capture of {pattern} could be fetched", found=result.counters["captures"],
                hint=f"the reason for each is in {work / common_crawl.FETCHED}; remove {folder} to start anew",
            )  # fmt: skip
        return Collected(_finish(writer, result.files, result.counters), fresh=True)


def _empty(folder: Path) -> Path:
    """A new empty folder: what these sources left half done is cheaper to redo than to check."""
    shutil.rmtree(folder, ignore_errors=True)
    with storage_errors("create", folder):
        folder.mkdir(parents=True)
    return folder


def _finish(writer: ArtifactWriter, files: Iterable[Path], counters: dict[str, Any]) -> Manifest:
    """Puts the finished files into the artifact's folder and commits it.

    They are linked, not moved: a kill before the manifest is written leaves the work folder whole, and the same
    command finishes from there.
    """
    files = list(files)
    placed: list[Path] = []
    names = {path.name for path in files}
    for stale in writer.folder.glob(f"{writer.name}-*.warc.gz"):
        # Left by a kill at this very place, under settings that have changed since.
        if stale.name not in names:
            stale.unlink()
    for path in files:
        target = writer.folder / path.name
        with storage_errors("write", target):
            target.unlink(missing_ok=True)
            try:
                os.link(path, target)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK):
                    raise
                shutil.copyfile(path, target)
        placed.append(target)
    return writer.commit(counters, files=placed)
