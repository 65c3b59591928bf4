"""`headwater eval scores`. Only click is imported until it runs."""

from pathlib import Path

import click

from headwater.core.cli_options import metrics_option, run_option


@click.command("scores")
@run_option
@click.option("--once", is_flag=True, help="Only the evaluations that are there now.")
@click.option("--poll", type=click.FloatRange(0.1), default=20.0, show_default=True, help="Seconds between two looks.")
@metrics_option
def scores(run: Path, once: bool, poll: float, metrics_port: int | None, metrics_host: str) -> None:
    """Tell the scores of a run's evaluations, RUN/evals/step-…, as others finish them, until it is stopped.

    It evaluates nothing: `headwater eval watch`, the training itself (eval.every) or Jobs of a cluster do. With
    --metrics-port it is what Prometheus scrapes for them, since a Job is gone when its scores are known.

    \b
    headwater eval scores --run demo --metrics-port 9465
    """
    from headwater.core.console import done, warn
    from headwater.core.layout import RunLayout
    from headwater.core.sinks import served
    from headwater.eval.metrics import series_of
    from headwater.eval.notes import headline
    from headwater.eval.scores import follow_scores

    layout = RunLayout(run)
    found = follow_scores(
        layout, once=once, poll=poll, failed=lambda folder, error: warn(f"{folder} cannot be read: {error}")
    )
    with served(metrics_port, layout.serving("eval"), metrics_host) as log:
        for step, results in found:
            log(step, series_of(results))
            told = headline(results.tasks, results.settings["eval"]["tasks"])
            texts = [f"{score.task} {score.metric} {score.value:.4f}" for score in told]
            if results.bits_per_byte is not None:
                texts.append(f"bits per byte {results.bits_per_byte.model:.4f}")
            done("scores", f"step {step:,} · {' · '.join(texts)}")
