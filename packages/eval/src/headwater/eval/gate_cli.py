"""`headwater eval gate` and `headwater eval suites`. Only click is imported until a command runs."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.core.cli_options import json_option

EXIT = {"GO": 0, "NO-GO": 3, "INCONCLUSIVE": 4}


@click.command("gate")
@click.option("--candidate", required=True, type=click.Path(path_type=Path), metavar="A", help="What may be released.")
@click.option("--baseline", required=True, type=click.Path(path_type=Path), metavar="B", help="What it would replace.")
@click.option("--suite", metavar="NAME|FILE", help="Evaluate both with this suite first, where they are not yet.")
@click.option(
    "--data-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Data of the tasks: no network is used.",
)
@click.option("--hub", is_flag=True, help="Allow data sets from the Hugging Face hub.")
@click.option(
    "--level",
    type=click.FloatRange(0, 0.5, min_open=True),
    default=0.05,
    show_default=True,
    help="Probability of a NO-GO, at most, when the two are alike.",
)
@click.option(
    "--margin",
    type=click.FloatRange(0),
    default=0.02,
    show_default=True,
    help="The loss that does not matter: 0.02 is two points of accuracy, or 2% of another metric.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="TASK=METRIC",
    help="The metric of a task, where it is not the first; may be given again.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("gate"),
    show_default=True,
    metavar="DIR",
    help="Where evaluations that are made go.",
)
@click.option(
    "--markdown", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it as Markdown."
)
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it as JUnit XML.")
@json_option
def gate(
    candidate: Path,
    baseline: Path,
    suite: str | None,
    data_dir: Path | None,
    hub: bool,
    level: float,
    margin: float,
    metrics: tuple[str, ...],
    output: Path,
    markdown: Path | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Decide whether a model is good enough to replace another: GO, NO-GO or INCONCLUSIVE.

    A and B are folders: of an evaluation (RUN/eval), of a run, of a checkpoint or of a Hugging Face model. The last
    three need --suite. Both are compared on the same items, with the probability of being misled stated and kept.

    Ends with 0 for GO, 3 for NO-GO, 4 for INCONCLUSIVE, 1 or 2 for an error.

    \b
    headwater eval gate --candidate new/eval --baseline old/eval
    headwater eval gate --candidate new --baseline old --suite ci --data-dir DIR --junit gate.xml --markdown gate.md
    """
    from headwater.core.console import print_json, table, warn
    from headwater.core.errors import ConfigError
    from headwater.core.storage import atomic_write
    from headwater.eval.gate import Evaluated, decide
    from headwater.eval.gate_report import HEADERS, headline, rows
    from headwater.eval.gate_report import junit as as_junit
    from headwater.eval.gate_report import markdown as as_markdown
    from headwater.eval.suites import load_suite

    asked = load_suite(suite).tasks if suite is not None else {}
    chosen = {name: how.metric for name, how in asked.items() if how.metric is not None}
    for each in metrics:
        task, equals, metric = each.partition("=")
        if not equals:
            raise ConfigError(
                f"--metric {each} names no metric", expected="TASK=METRIC, for example hellaswag=acc_norm"
            )
        chosen[task] = metric
    sides = [
        Evaluated(_evaluated(folder, suite, output / name, data_dir, hub))
        for name, folder in (("baseline", baseline), ("candidate", candidate))
    ]
    decision = decide(
        *sides, tasks=list(asked) or None, metrics=chosen, level=level, margin=margin,
        margins={name: how.margin for name, how in asked.items() if how.margin is not None},
    )  # fmt: skip
    for each in decision.warnings:
        warn(each)
    if markdown is not None:
        atomic_write(markdown, as_markdown(decision))
    if junit is not None:
        atomic_write(junit, as_junit(decision))
    if as_json:
        print_json(decision.model_dump(mode="json"))
    else:
        table(HEADERS, rows(decision))
        print(headline(decision))
    raise SystemExit(EXIT[decision.verdict])


def _evaluated(folder: Path, suite: str | None, output: Path, data_dir: Path | None, hub: bool) -> Path:
    """A folder with results; made from a run, a checkpoint or a model where it is none."""
    from headwater.core.console import warn
    from headwater.core.errors import EvalError
    from headwater.core.layout import RunLayout
    from headwater.eval.config import EvalConfig
    from headwater.eval.stage import run_eval

    if (folder / "results.json").is_file() or suite is None:
        return folder
    run, checkpoint = RunLayout(folder), "best"
    if not run.checkpoints.is_dir():
        if not folder.is_dir():
            raise EvalError(f"{folder} does not exist", expected="an evaluation, a run, a checkpoint or a model")
        # RUN/train/checkpoints/step-…, or a model that belongs to no run.
        above = folder.resolve().parents
        run, checkpoint = RunLayout(above[2] if folder.parent.name == "checkpoints" else folder), str(folder)
    config = EvalConfig(
        suite=suite, checkpoint=checkpoint, bits_per_byte=False, hub=hub, data_dir=str(data_dir) if data_dir else None
    )
    evaluation = run_eval(run, config, output=output)
    for refused in evaluation.results.refused:
        warn(f"{refused.task} was not run: {refused.reason}")
    return evaluation.folder


@click.command("suites")
@click.argument("name", required=False)
@json_option
def suites(name: str | None, as_json: bool) -> None:
    """List the suites, or print one as a file to copy and change.

    \b
    headwater eval suites
    headwater eval suites core > mine.yaml
    headwater eval run --recipe demo --run demo eval.suite=mine.yaml
    """
    from headwater.core.console import print_json, table
    from headwater.eval.suites import FOLDER, load_suite
    from headwater.eval.suites import names as all_names

    if name is not None:
        found = load_suite(name)
        if as_json:
            print_json(found.model_dump(mode="json", exclude_none=True))
        else:
            path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
            click.echo(path.read_text(encoding="utf-8"), nl=False)
        return
    known = {each: load_suite(each) for each in all_names()}
    if as_json:
        print_json({each: found.model_dump(mode="json", exclude_none=True) for each, found in known.items()})
    else:
        table(["suite", "tasks", "what for"], [[each, ", ".join(s.tasks), s.description] for each, s in known.items()])
