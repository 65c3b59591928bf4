"""`headwater eval report`. Only click is imported until it runs."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.core.cli_options import json_option

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("report")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option(
    "--run", type=click.Path(path_type=Path), metavar="RUN", help="A run: its RUN/eval, and RUN/evals/step-…."
)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="FOLDER|RUN",
    help="Another evaluation, side by side: paired differences, and the items where they differ.",
)
@click.option("--output", type=_FILE, metavar="FILE", help="The page (default: FOLDER.html, so RUN/eval.html).")
@click.option("--markdown", type=_FILE, metavar="FILE", help="Write the scores as Markdown too.")
@click.option("--junit", type=_FILE, metavar="FILE", help="Write the scores as JUnit XML too.")
@click.option("--theme", type=click.Choice(["auto", "light", "dark"]), default="auto", show_default=True)
@click.option("--plain", is_flag=True, help="Do not compress the items: for browsers from before 2023.")
@click.option("--open", "open_it", is_flag=True, help="Open the page in a browser.")
@json_option
def report(
    folder: Path | None,
    run: Path | None,
    against: Path | None,
    output: Path | None,
    markdown: Path | None,
    junit: Path | None,
    theme: str,
    plain: bool,
    open_it: bool,
    as_json: bool,
) -> None:
    """Draw an evaluation as one self-contained page: scores with intervals, and every item with its answers.

    FOLDER is an evaluation (RUN/eval, RUN/evals/step-…, or what --output of `eval run` named). The page needs no
    network and no other file. It is no part of the evaluation's artifact: make it again at any time.

    \b
    headwater eval report --run demo
    headwater eval report --run new --against old --open
    headwater eval report gate/candidate --markdown scores.md --junit scores.xml
    """
    place = folder or run
    if place is None or (folder is not None and run is not None):
        raise click.UsageError("give either the folder of an evaluation or --run RUN")

    from headwater.core.console import done, print_json, warn
    from headwater.eval.report.build import build

    built = build(
        place, against=against, output=output, markdown=markdown, junit=junit, theme=theme, plain=plain
    )  # fmt: skip
    view = built.view
    if as_json:
        print_json(
            {
                "page": str(built.page),
                "bytes": built.page.stat().st_size,
                "evaluation": str(view.source.folder),
                "items": view.items,
                "tasks": [row.score.model_dump(mode="json") for row in view.scores],
                "refused": [each.model_dump(mode="json") for each in view.results.refused],
                "against": None if view.pairs is None or view.other is None else {
                    "evaluation": str(view.other.folder),
                    "differences": [
                        {"task": pair.score.task, "metric": pair.metric, "reading": pair.reading, **pair.found.__dict__}
                        for pair in view.pairs.units
                    ],
                    "left_out": view.pairs.left_out,
                },
            }
        )  # fmt: skip
    else:
        if view.pairs is not None:
            for task, reason in view.pairs.left_out.items():
                warn(f"{task} was not compared: {reason}")
        words = f"{built.page} · {built.names['this']} · {view.items:,} items"
        done("report", words + (f" · against {built.names['other']}" if view.other is not None else ""))
    if open_it:
        import webbrowser

        if not webbrowser.open(built.page.resolve().as_uri()):
            warn("no browser could be started here; open the path above in yours")
