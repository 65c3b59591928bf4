"""`headwater data fetch …`. Heavy imports wait until a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headwater.core.cli_options import json_option


@click.group()
def fetch() -> None:
    """Fetch records of a public crawl (Common Crawl) into WARC files."""


@fetch.command("common-crawl")
@click.argument("pattern", required=False, metavar="URL_PATTERN")
@click.option("--crawl", "crawl_name", metavar="NAME", help="Which crawl, for example CC-MAIN-2026-05.")
@click.option("--list", "list_crawls", is_flag=True, help="List the crawls that the index knows, and stop.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Folder for the WARC files. The same command goes on where it was interrupted.")  # fmt: skip
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1), help="Captures to fetch, at most.")
@click.option("--filter", "filters", multiple=True, metavar="RULE", default=("=status:200",), show_default=True,
              help='Index filter, for example "=languages:eng" or "~mime:text/.*".')  # fmt: skip
@click.option("--rate", default=1.0, show_default=True, type=click.FloatRange(0), metavar="N",
              help="Requests a second to one host, at most; 0 is no limit.")  # fmt: skip
@click.option("--retries", default=5, show_default=True, type=click.IntRange(0),
              help="Repeats of a request that failed in a passing way (503 SlowDown is common).")  # fmt: skip
@click.option("--timeout", default=60.0, show_default=True, type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="Limit for connecting and for each read.")  # fmt: skip
@click.option("--name", default="common-crawl", show_default=True, help="Stem of the WARC file names.")
@click.option("--index-url", default="https://index.commoncrawl.org", show_default=True, metavar="URL",
              help="Where the index is.")  # fmt: skip
@click.option("--data-url", default="https://data.commoncrawl.org", show_default=True, metavar="URL",
              help="Where the files are.")  # fmt: skip
@json_option
def common_crawl(
    pattern: str | None, crawl_name: str | None, list_crawls: bool, out: Path | None, limit: int,
    filters: tuple[str, ...], rate: float, retries: int, timeout: float, name: str, index_url: str, data_url: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Fetch the captures of URL_PATTERN from Common Crawl.

    Asks the index where the records are, fetches just those bytes, and writes them unchanged to
    DIR/common-crawl-00000.warc.gz …; DIR/fetched.jsonl says what became of each capture.

    \b
    headwater data fetch common-crawl --list
    headwater data fetch common-crawl 'docs.python.org/3/*' --crawl CC-MAIN-2026-05 --out cc --limit 500
    """
    from headwater.core.console import done, print_json
    from headwater.data.collect.cdx import crawls
    from headwater.data.collect.collect import collect_common_crawl
    from headwater.data.collect.fetcher import Fetcher
    from headwater.data.collect.sources import USER_AGENT

    given: dict[str, Any] = {"user_agent": USER_AGENT, "rate": rate, "retries": retries, "timeout_seconds": timeout}
    with Fetcher(**given, max_bytes=256 * 1024 * 1024) as fetcher:
        if list_crawls:
            names = crawls(fetcher, index_url)
            if as_json:
                print_json(names)
            else:
                click.echo("\n".join(names))
            return
        needed = (("URL_PATTERN", pattern), ("--crawl", crawl_name), ("--out", out))
        missing = [flag for flag, value in needed if not value]
        if pattern is None or crawl_name is None or out is None:
            raise click.UsageError(f"missing {', '.join(missing)} (or --list, to see which crawls there are)")
        result = collect_common_crawl(
            name, out, fetcher, crawl=crawl_name, pattern=pattern, limit=limit, filters=filters,
            index_url=index_url, data_url=data_url,
        )  # fmt: skip
    if as_json:
        print_json({"folder": str(out), **result.as_json()})
    else:
        done("fetch", ("" if result.fresh else "up to date · ") + f"{result.summary()} → {out}")
