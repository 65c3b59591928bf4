"""`headwater eval watch`. Only click is imported until it runs."""

from pathlib import Path

import click

from headwater.core.cli_options import metrics_option, recipe_options


@click.command("watch")
@recipe_options
@click.option("--suite", metavar="NAME|FILE", help="A suite in place of eval.tasks; see `headwater eval suites`.")
@click.option("--once", is_flag=True, help="Only the checkpoints that are there now.")
@click.option("--poll", type=click.FloatRange(0.1), default=20.0, show_default=True, help="Seconds between two looks.")
@metrics_option
@click.option(
    "--data-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Data of the tasks: no network is used (default: eval.data_dir).",
)
@click.option(
    "--include",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Folder of your own lm-eval task files; may be given again.",
)
def watch(
    recipe: str,
    run: Path,
    as_json: bool,
    overrides: tuple[str, ...],
    suite: str | None,
    once: bool,
    poll: float,
    metrics_port: int | None,
    metrics_host: str,
    data_dir: Path | None,
    include: tuple[Path, ...],
) -> None:
    """Evaluate each checkpoint of a run as it appears, until the training is finished.

    Results go to RUN/evals/step-…; a checkpoint is evaluated once. With --json a line for each. One that cannot be
    evaluated (damaged files, weights that are NaN) is told and passed over; the command then ends with 1.

    \b
    headwater eval watch --recipe demo --run demo --suite ci --data-dir DIR
    headwater eval watch --recipe demo --run demo --once --json
    headwater eval watch --recipe demo --run demo --metrics-port 9465
    """
    import json

    from headwater.core.config import load_section, validate
    from headwater.core.console import done, warn
    from headwater.core.errors import EvalError, HeadwaterError
    from headwater.core.layout import RunLayout
    from headwater.core.sinks import served
    from headwater.eval.config import EvalConfig
    from headwater.eval.metrics import series_of
    from headwater.eval.summary import one_line
    from headwater.eval.watch import steps_of
    from headwater.eval.watch import watch as each_checkpoint

    config = load_section("eval", EvalConfig, recipe, overrides)
    if suite is not None:
        config = validate(EvalConfig, config.model_dump() | {"suite": suite}, "eval")
    unusable: list[int] = []

    def failed(step: int, error: HeadwaterError) -> None:
        unusable.append(step)
        warn(f"the checkpoint of step {step:,} was not evaluated: {error}")

    if once and not run.is_dir():
        raise EvalError(f"{run} does not exist", expected="the folder of a run, with train/checkpoints in it")
    if not steps_of(RunLayout(run)):
        warn(f"no finished checkpoint in {RunLayout(run).checkpoints}" + ("" if once else " yet: waiting for one"))
    found = each_checkpoint(
        RunLayout(run), config, once=once, poll=poll, data_dir=data_dir, include=include, failed=failed,
        gone=lambda step: warn(f"the checkpoint of step {step:,} was removed before it was evaluated"),
    )  # fmt: skip
    count = 0
    with served(metrics_port, RunLayout(run).serving("eval"), metrics_host) as log:
        for step, evaluation in found:
            count += 1
            log(step, series_of(evaluation.results))
            if as_json:
                scores = [score.model_dump(mode="json") for score in evaluation.results.tasks]
                bits = evaluation.results.bits_per_byte
                click.echo(
                    json.dumps({"step": step, "artifact": str(evaluation.folder), "up_to_date": not evaluation.fresh,
                                "tasks": scores, "bits_per_byte": bits.model if bits else None})
                )  # fmt: skip
            else:
                done("eval", one_line(evaluation))
    if not as_json:
        done("watch", f"{count} checkpoint{'' if count == 1 else 's'} of {run}")
    if unusable:
        raise SystemExit(1)
