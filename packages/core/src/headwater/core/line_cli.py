"""`headwater line`: the whole line with one command."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.core.cli_options import run_option


@click.group(short_help="Run every stage of a recipe, in order.")
def line() -> None:
    """Run every stage of a recipe, in order: from the crawl to the report."""


@line.command("run")
@click.argument("recipe", metavar="RECIPE")
@run_option
@click.option("--only", metavar="STAGE", help="Run this stage alone.")
@click.option("--until", metavar="STAGE", help="Stop after this stage.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def run_line(recipe: str, run: Path, only: str | None, until: str | None, overrides: tuple[str, ...]) -> None:
    """Run the stages of RECIPE (a YAML file, or a name in ./recipes) under the run folder.

    Stages: items, collect, documents, tokenizer, tokens, train, eval, report. A stage whose inputs and configuration
    are unchanged is not run again; one that was interrupted goes on where it stopped.
    """
    from headwater.core import console
    from headwater.core import line as stages
    from headwater.core.layout import RunLayout
    from headwater.core.lock import exclusive

    chosen = stages.select(only, until)
    layout = RunLayout(run)
    resolved = stages.resolve(recipe, overrides, layout)
    with exclusive(layout.root):
        stages.write_recipe(resolved, layout)
        results: list[stages.StageResult] = []
        for stage in chosen:
            result = stages.run_stage(stage, layout)
            results.append(result)
            if result.exit_code != 0:
                click.echo(
                    f"error: the stage {stage.name} ended with exit code {result.exit_code}; its message is above. "
                    "When the cause is mended, run the same command again: it goes on from there.",
                    err=True,
                )
                raise click.exceptions.Exit(result.exit_code if result.exit_code > 0 else 1)
    print()
    console.table(
        ["stage", "result", "seconds"],
        [[result.name, result.summary, round(result.seconds, 1)] for result in results],
        title=f"The line: {run}",
    )
    if chosen[-1].name == "report":  # one that lies there from an earlier run may show something else
        print(f"report: {(layout.report / 'report.html').resolve()}")
        print(f"next:   headwater verify {run}  ·  headwater trace step 1 --run {run}")
