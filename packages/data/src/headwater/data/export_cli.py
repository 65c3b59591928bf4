"""`headwater data export`."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.core.cli_options import json_option, run_option


@click.command()
@run_option
@click.option("--out", required=True, metavar="DIR|URI", help="Folder, or a URI such as s3://bucket/corpus.")
@click.option("--format", "format_", default="jsonl.zst", show_default=True, help="Of the files.",
              type=click.Choice(["jsonl.zst", "parquet", "messages"]))  # fmt: skip
@click.option("--verdicts", is_flag=True, help="With each document, what every operator said of it.")
@click.option("--rejected", is_flag=True, help="Rejected documents too, in rejected/, with their reason.")
@click.option("--source", "sources", multiple=True, metavar="NAME", help="Only this source; may be given again.")
@json_option
def export(
    run: Path, out: str, format_: str, verdicts: bool, rejected: bool, sources: tuple[str, ...], as_json: bool
) -> None:
    """Write the documents of a run as JSON lines or Parquet, to a folder or a store.

    One file for each of RUN/documents; the same command goes on where it was interrupted. export.json, written last,
    lists all files with their SHA-256. As messages, conversations become JSON lines that TRL and chat templates read:
    chat/, preference/ and label/.

    \b
    headwater data export --run RUN --out corpus
    headwater data export --run RUN --out s3://bucket/corpus --format parquet --verdicts --rejected
    headwater data export --run RUN --out sft --format messages
    """
    from headwater.core.console import done, print_json, size
    from headwater.core.layout import RunLayout
    from headwater.data.export import Wanted
    from headwater.data.export import export as write

    result, fresh = write(RunLayout(run), out, Wanted(format_, verdicts, rejected, sources))
    if as_json:
        print_json({**result, "fresh": fresh})
        return
    message = f"{result['documents']:,} documents, {len(result['shards'])} files, {size(result['bytes'])} → {out}"
    done("export", message if fresh else f"up to date · {message}")
