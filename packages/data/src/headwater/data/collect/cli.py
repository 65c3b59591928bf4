"""`headwater data crawl`, `fetch` and `collect`. Heavy imports wait until a command runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.core.cli_options import json_option, metrics_option, recipe_options
from headwater.data.collect.fetch_cli import fetch

if TYPE_CHECKING:
    from headwater.data.collect.collect import Collected

_OUT = click.option(
    "--out", required=True, metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the WARC files. The same command, run again, goes on where it was interrupted.",
)  # fmt: skip


class _Date(click.ParamType):
    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            when = datetime.fromtimestamp(int(value), UTC) if value.isdigit() else datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither an ISO 8601 date nor seconds since 1970", param, ctx)
        return when if when.tzinfo else when.replace(tzinfo=UTC)


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@_OUT
@click.option("--name", default="web", show_default=True, help="Stem of the WARC file names.")
@click.option("--max-pages", default=1000, show_default=True, type=click.IntRange(1), help="Pages to save, at most.")
@click.option(
    "--max-depth", default=10, show_default=True, type=click.IntRange(0), help="Links to follow from a URL, at most."
)
@click.option(
    "--rate", default=1.0, show_default=True, type=click.FloatRange(0), metavar="N",
    help="Requests a second to one host, at most; 0 is no limit. A longer Crawl-delay in robots.txt is honoured.",
)  # fmt: skip
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="Host that may be visited (default: URL's own).")
@click.option("--include", multiple=True, metavar="REGEX", help="Visit only URLs in which one of these is found.")
@click.option("--exclude", multiple=True, metavar="REGEX", help="Visit no URL in which one of these is found.")
@click.option("--content-type", "content_types", multiple=True, metavar="TYPE",
              help="Media type to save (default: HTML and plain text).")  # fmt: skip
@click.option("--max-page-bytes", type=click.IntRange(1), default=5 * 1024 * 1024, show_default=True,
              help="Give up larger pages.")  # fmt: skip
@click.option("--retries", default=3, show_default=True, type=click.IntRange(0),
              help="Repeats of a request that failed in a passing way.")  # fmt: skip
@click.option("--timeout", default=30.0, show_default=True, type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="Limit for connecting and for each read.")  # fmt: skip
@click.option("--user-agent", help="User-Agent header; robots.txt is asked for it.")
@click.option("--ignore-robots", is_flag=True, help="Do not ask robots.txt. For a site of your own only.")
@click.option("--connect-to", multiple=True, metavar="HOST:PORT:ADDR:PORT",
              help="Connect to ADDR:PORT for HOST:PORT, as curl does.")  # fmt: skip
@click.option("--date", type=_Date(), metavar="DATE",
              help="Stamp every record with this date (ISO 8601 or seconds since 1970): equal pages then give "
              "equal bytes.")  # fmt: skip
@json_option
def crawl(
    urls: tuple[str, ...], out: Path, name: str, max_pages: int, max_depth: int, rate: float, hosts: tuple[str, ...],
    include: tuple[str, ...], exclude: tuple[str, ...], content_types: tuple[str, ...], max_page_bytes: int,
    retries: int, timeout: float, user_agent: str | None, ignore_robots: bool, connect_to: tuple[str, ...],
    date: datetime | None, as_json: bool,
) -> None:  # fmt: skip
    """Crawl web pages politely into WARC files.

    Starts at URL, follows links breadth first on the same host, obeys robots.txt, and asks for one page a second
    unless told otherwise. Writes DIR/web-00000.warc.gz … (WARC 1.1) and DIR/crawl.jsonl, which says what became of
    every URL and why.

    \b
    headwater data crawl https://docs.example.org/ --out docs --max-pages 200
    headwater data crawl https://docs.example.org/3/ --out docs --include '^https://docs.example.org/3/'
    """
    from headwater.core.config import validate
    from headwater.data.collect.collect import collect as collect_source
    from headwater.data.collect.sources import CrawlSource

    given: dict[str, Any] = {
        "seeds": urls, "max_pages": max_pages, "max_depth": max_depth, "rate": rate, "hosts": hosts,
        "include": include, "exclude": exclude, "max_page_bytes": max_page_bytes, "retries": retries,
        "timeout_seconds": timeout, "robots": not ignore_robots, "connect_to": connect_to, "date": date,
    }  # fmt: skip
    if content_types:
        given["content_types"] = content_types
    if user_agent:
        given["user_agent"] = user_agent
    result = collect_source(name, validate(CrawlSource, given, "crawl"), out, replace=False)
    _report("crawl", {name: result}, {name: out}, as_json)


@click.command()
@metrics_option
@recipe_options
def collect(
    recipe: str, run: Path, as_json: bool, overrides: tuple[str, ...], metrics_port: int | None, metrics_host: str
) -> None:
    """1. Collect every source of the recipe: RUN/raw/<source>/.

    A source is a crawl, captures of Common Crawl, a folder of files, Python's own language reference, or WARC files
    that you have: these become WARC files. Corpora of `kind: files` are read where they are, and only listed here.
    Sources that are complete and unchanged are left alone; an interrupted crawl goes on.
    """
    from headwater.core.config import load_section
    from headwater.core.errors import ConfigError
    from headwater.core.layout import RunLayout
    from headwater.data.collect.collect import collect as collect_source
    from headwater.data.collect.sources import SourcesConfig
    from headwater.data.metrics import progress_served

    sources = load_section("sources", SourcesConfig, recipe, overrides).root
    if not sources:
        raise ConfigError(f"recipe {recipe} has no `sources`", hint="name one, for example web: {kind: crawl, …}")
    layout = RunLayout(run)
    folders = {name: layout.raw(name) for name in sources}
    with progress_served(metrics_port, layout.serving("data"), metrics_host):
        results = {name: collect_source(name, source, folders[name]) for name, source in sources.items()}
    _report("collect", results, folders, as_json)


def _report(stage: str, results: dict[str, Collected], folders: dict[str, Path], as_json: bool) -> None:
    from headwater.core.console import done, print_json

    if as_json:
        print_json({name: {"folder": str(folders[name]), **result.as_json()} for name, result in results.items()})
        return
    prefix = "" if any(result.fresh for result in results.values()) else "up to date · "
    many = len(results) > 1
    parts = [f"{f'{name}: ' if many else ''}{result.summary()}" for name, result in results.items()]
    place = "" if many else f" → {next(iter(folders.values()))}"
    done(stage, prefix + " · ".join(parts) + place)


__all__ = ["collect", "crawl", "fetch"]
