"""`headwater data report`."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.core.cli_options import json_option, run_option


@click.command()
@run_option
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The page's file.  [RUN/documents.html]")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed draws other samples.")
@click.option("--open", "open_it", is_flag=True, help="Open it in a browser.")
@json_option
def report(run: Path, out: Path | None, seed: int, open_it: bool, as_json: bool) -> None:
    """Draw the documents as one self-contained page: RUN/documents.html.

    The funnel by source, reasons, languages, lengths, hosts, clusters of duplicates, and samples of what each operator
    kept, changed and set aside. The page needs no network, no other file and no JavaScript.
    """
    from headwater.core.console import done, print_json, warn
    from headwater.core.layout import RunLayout
    from headwater.data.funnel import alarm_message
    from headwater.data.report.build import build

    layout = RunLayout(run)
    built = build(layout, out or layout.documents_page, seed)
    alarms = built.figures.funnel.get("duplicate_alarms", [])
    if as_json:
        print_json({"path": str(built.path), "bytes": built.path.stat().st_size, "duplicate_alarms": alarms})
    else:
        for alarm in alarms:
            warn(alarm_message(alarm))
        total = built.figures.funnel["total"]
        done("report", f"{built.path} · {total['documents_out']:,} of {total['documents_in']:,} documents kept")
    if open_it:
        import webbrowser

        if not webbrowser.open(built.path.resolve().as_uri()):
            warn("no browser could be started here; open the path above in yours")
