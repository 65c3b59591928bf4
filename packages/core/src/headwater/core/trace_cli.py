"""`headwater trace`: from documents to steps, from steps to documents, from evaluation items to documents."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from headwater.core.cli_options import json_option, run_option


@click.group(short_help="Walk documents, steps and evaluation items back.")
def trace() -> None:
    """Walk a run back: a document's steps, a step's documents, an item's sources."""


@trace.command("doc")
@click.argument("query", metavar="ID")
@click.option("--url", "by_url", is_flag=True, help="ID is a URL, or a part of one.")
@click.option("--text", "with_text", is_flag=True, help="Print only the document's text.")
@click.option("--raw", "with_raw", is_flag=True, help="Write only the collected bytes of the record to stdout.")
@run_option
@json_option
def doc(query: str, by_url: bool, with_text: bool, with_raw: bool, run: Path, as_json: bool) -> None:
    """Where a document came from, what every operator said, and at which steps it is trained on.

    ID is the document's id or the beginning of it; with --url it is the document's URL or a part of it.
    """
    from headwater.core.console import print_json
    from headwater.core.layout import RunLayout
    from headwater.core.sidecar import Sidecars
    from headwater.core.trace.documents import find_documents
    from headwater.core.trace.show import show_document
    from headwater.core.trace.training import read_training

    layout = RunLayout(run)
    rows = find_documents(layout, query, by_url=by_url)
    if with_text:
        click.echo(rows[0].text)
        return
    if with_raw:
        from headwater.core.trace.payload import read_collected

        row = rows[0]
        sys.stdout.buffer.write(
            read_collected(layout.raw(row.source), row.warc_file, row.warc_offset, row.payload_sha256)
        )
        return
    training, sidecars = read_training(layout), Sidecars(layout.tokens_root)
    results: list[dict[str, object]] = []
    for number, row in enumerate(rows):
        place = sidecars.place(row.source, row.id) if row.kept else None
        readings, left_out = [], 0
        if training is not None and place is not None and place.split == "train":
            readings = training.readings(place.source, place.token_start, place.token_count)
            left_out = training.left_out(place.source, place.token_start, place.token_count)
        if not as_json:
            if number:
                click.echo("\nThe same bytes were collected from this URL more than once; the other copy:\n")
            show_document(row, place, training, readings, left_out)
            continue
        fields = asdict(row)
        del fields["text"]
        results.append(
            {
                **fields, "kept": row.kept, "tokens": asdict(place) if place else None,
                "steps_done": training.step if training else None,
                "steps_planned": training.steps_planned if training else None,
                "readings": [asdict(reading) for reading in readings], "samples_left_out": left_out,
            }
        )  # fmt: skip
    if as_json:
        print_json(results)


@trace.command("step")
@click.argument("number", type=click.IntRange(min=1), metavar="N")
@run_option
@json_option
def step(number: int, run: Path, as_json: bool) -> None:
    """The documents in training step N (from 1), computed from the order of samples."""
    from headwater.core.console import print_json
    from headwater.core.layout import RunLayout
    from headwater.core.trace.show import show_step
    from headwater.core.trace.steps import trace_step

    result = trace_step(RunLayout(run), number)
    print_json(asdict(result)) if as_json else show_step(result)


@trace.command("item")
@click.argument("task")
@click.argument("index", type=click.IntRange(min=0))
@click.option("--ngram", type=click.IntRange(min=1), metavar="N",
              help="Only N words in a row count as overlap (default: 13, or enough of the item in parts).")  # fmt: skip
@click.option("--top", default=20, show_default=True, type=click.IntRange(min=1), metavar="N",
              help="Documents to show, most overlap first.")  # fmt: skip
@run_option
@json_option
def item(task: str, index: int, ngram: int | None, top: int, run: Path, as_json: bool) -> None:
    """The documents, kept and rejected, that share text with item INDEX of TASK.

    Shows the shared text, what became of each document, and the steps that read it.
    """
    from headwater.core.console import print_json, progress
    from headwater.core.layout import RunLayout
    from headwater.core.trace.items import count_documents, trace_item
    from headwater.core.trace.show import show_item

    layout = RunLayout(run)
    with progress(count_documents(layout), "searching documents") as bar:
        result = trace_item(layout, task, index, ngram=ngram, top=top, tick=bar.advance)
    print_json(asdict(result)) if as_json else show_item(result)
