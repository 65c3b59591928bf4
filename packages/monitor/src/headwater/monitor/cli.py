"""`headwater report` and `headwater monitor`; only click and the standard library are imported before one runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from headwater.core.cli_options import recipe_options
from headwater.monitor.grafana.cli import grafana

Command = TypeVar("Command", bound=Callable[..., Any])


@click.command()
@recipe_options
def report(recipe: str, run: Path, as_json: bool, overrides: tuple[str, ...]) -> None:
    """Draw the run as one self-contained page: RUN/report/report.html.

    Works on a run in any state: a stage that has not run is shown with the command that runs it. A folder that holds
    nothing of a run is refused.
    """
    from headwater.core import console
    from headwater.core.layout import RunLayout

    from .report.build import build_report

    built = build_report(recipe, RunLayout(run), overrides)
    view = built.view
    present = [command.stage for command in view.commands if command.present]
    if as_json:
        result = {
            "path": str(built.path), "fresh": built.fresh, "bytes": built.path.stat().st_size, "stages": present,
            "artifacts": len(view.lineage), "problems": list(view.problems),
        }  # fmt: skip
        console.print_json(result)
        return
    for problem in view.problems:
        console.warn(problem)
    state = "written" if built.fresh else "up to date"
    stages = f"{len(present)} of {len(view.commands)} stages, {len(view.lineage)} artifacts"
    console.done("report", f"{state}: {built.path} · {stages} · live: headwater monitor open {run}")


@click.group(short_help="The run page, the table of metrics, alert rules.")
def monitor() -> None:
    """Watch runs: the run page, the table of metrics, alert rules, dashboards."""


@monitor.command("open")
@click.argument("runs", nargs=-1, required=True, type=click.Path(file_okay=False, path_type=Path), metavar="RUN...")
@click.option("--port", type=click.IntRange(0, 65535), default=7007, show_default=True, help="0: any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Where to listen. Any but a loopback address lets others on the network read the runs.")  # fmt: skip
@click.option("--prometheus", metavar="URL",
              help="Ask this Prometheus which alerts fire; else they are worked out from the logs.")  # fmt: skip
@click.option("--print", "only_print", is_flag=True, help="Print the address; do not start a browser.")
def open_page(runs: tuple[Path, ...], port: int, host: str, prometheus: str | None, only_print: bool) -> None:
    """Serve a page of runs, live while they are: curves, events, alerts, evaluations, the funnel.

    RUN is a run folder, begun or not; several are drawn over one another. The page reads the folders and writes
    nothing; Ctrl-C ends it.

    \b
    headwater monitor open runs/demo
    headwater monitor open runs/a runs/b --port 0
    """
    import webbrowser

    from headwater.core import console

    from .live.page import RunPage
    from .live.server import PageServer

    with PageServer(RunPage(runs, prometheus), host, port) as server:
        if not server.is_local:
            console.warn(
                f"whoever reaches {host}, port {server.server_port}, can read these runs; there is no password"
            )
        console.done("monitor open", f"{server.url} · Ctrl-C ends it")
        if not only_print and not webbrowser.open(server.url):
            click.echo("no browser could be started here; open the address above in yours", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("ended")


@monitor.command("metrics")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print docs/metrics.md.")
def metrics(as_markdown: bool) -> None:
    """Print the table of metrics."""
    from headwater.core import console

    from . import table

    if as_markdown:
        click.echo(table.markdown(), nl=False)
    else:
        console.table(table.COLUMNS, table.rows())


@monitor.command("rules")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Default: stdout.")
@click.option("--runbook", metavar="URL", help="Where your copy of docs/runbook.md is; alerts link to its sections.")
def rules(output: Path | None, runbook: str | None) -> None:
    """Print recording and alert rules for Prometheus.

    \b
    headwater monitor rules --output headwater.rules.yml
    promtool check rules headwater.rules.yml
    # in prometheus.yml:  rule_files: [headwater.rules.yml]
    """
    from headwater.core import console
    from headwater.core.storage import atomic_write

    from . import rules as written

    text = written.as_yaml(runbook or written.RUNBOOK)
    if output is None:
        click.echo(text, nl=False)
        return
    atomic_write(output, text)
    console.done("monitor rules", f"{len(written.ALERTS)} alerts and {len(written.RECORDINGS)} recordings: {output}")


def _watching(command: Command) -> Command:
    """Adds what `up` and `compose` share: the runs, the ports, other exporters, the webhook, the interval."""
    for option in reversed(_WATCHING):
        command = option(command)
    return command


_WATCHING = (
    click.option(
        "--run", "runs", multiple=True, required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
        help="A run to watch, begun or not; may be given again.",
    ),
    click.option("--port", type=click.IntRange(0, 65535), default=9090, show_default=True, help="Of Prometheus."),
    click.option("--alerts-port", type=click.IntRange(0, 65535), default=9093, show_default=True,
                 help="Of Alertmanager."),
    click.option("--grafana-port", type=click.IntRange(0, 65535), default=3000, show_default=True, help="Of Grafana."),
    click.option("--exporter", "exporters", multiple=True, metavar="JOB=HOST:PORT",
                 help="Another exporter to scrape, for example node=127.0.0.1:9100; may be given again."),
    click.option("--webhook", metavar="URL", help="Where alerts are posted, in Alertmanager's format."),
    click.option("--interval", type=click.FloatRange(min=0.1), default=15.0, show_default=True, metavar="SECONDS",
                 help="Between two scrapes, and between two evaluations of the rules."),
)  # fmt: skip


@monitor.command("up")
@_watching
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Configuration, logs and data (default: monitor/ in the first run's folder).")  # fmt: skip
def up(
    runs: tuple[Path, ...], port: int, alerts_port: int, grafana_port: int, exporters: tuple[str, ...],
    webhook: str | None, interval: float, folder: Path | None,
) -> None:  # fmt: skip
    """Start Prometheus and Alertmanager for runs of this machine, and say which alerts come and go.

    They have to be installed; all listen on loopback only, a port of 0 is any free one. Grafana is started too where it
    is installed, with data sources and dashboards in place. A run's training is found when it serves metrics
    (train.metrics: {prometheus: {port: 0}} in its recipe), its data jobs and `eval watch` when they run with
    --metrics-port, also when they start later. Ctrl-C ends all.

    \b
    headwater monitor up --run runs/demo
    headwater monitor up --run runs/a --run runs/b --webhook http://127.0.0.1:5001/ --exporter node=127.0.0.1:9100
    """
    import threading

    from headwater.core import console

    from .targets import parse_exporters
    from .up import Stack, show_changes

    with Stack(folder or runs[0] / "monitor", runs, port=port, alerts_port=alerts_port, grafana_port=grafana_port,
               webhook=webhook, interval=interval, exporters=parse_exporters(exporters)) as stack:  # fmt: skip
        grafana = f"Grafana {stack.grafana} (admin, {stack.password_file})" if stack.grafana else "no Grafana installed"
        console.done(
            "monitor",
            f"Prometheus {stack.prometheus} · Alertmanager {stack.alertmanager} · {grafana} · Ctrl-C ends all",
        )
        try:
            show_changes(stack, click.echo, threading.Event(), min(interval, 5.0))
        except KeyboardInterrupt:
            click.echo("ended")


@monitor.command("compose")
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Folder to write; the containers keep their data in it.")  # fmt: skip
@_watching
def compose(
    output: Path, runs: tuple[Path, ...], port: int, alerts_port: int, grafana_port: int, exporters: tuple[str, ...],
    webhook: str | None, interval: float,
) -> None:  # fmt: skip
    """Write a folder for docker compose: Prometheus, Alertmanager and Grafana, all in place, on loopback only.

    Grafana's password is made once, and is in a file that only you can read. Written again when a run has started or
    goes on at another port, Prometheus follows.

    \b
    headwater monitor compose --run runs/demo --output monitor
    docker compose --project-directory monitor up -d
    """
    from headwater.core import console
    from headwater.core.errors import ConfigError

    from .grafana.compose import write_compose
    from .targets import parse_exporters

    if 0 in (port, alerts_port, grafana_port):
        raise ConfigError("containers need ports that are known beforehand", found=0, expected="1 to 65535")
    password = write_compose(
        output, runs, port=port, alerts_port=alerts_port, grafana_port=grafana_port, webhook=webhook, interval=interval,
        exporters=parse_exporters(exporters),
    )  # fmt: skip
    console.done("monitor compose", f"{output / 'compose.yaml'} · Grafana: admin, {password}")


@monitor.command("dashboards")
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Folder for one JSON file a dashboard.")  # fmt: skip
def dashboards(output: Path) -> None:
    """Write the Grafana dashboards as JSON, to be imported by hand. See also: headwater monitor grafana.

    \b
    headwater monitor dashboards --output dashboards/
    """
    from headwater.core import console

    from .dashboards import BOARDS
    from .grafana.build import write_boards

    write_boards(BOARDS, output)
    panels = sum(1 for board in BOARDS for _ in board.panels)
    console.done("monitor dashboards", f"{len(BOARDS)} dashboards with {panels} panels: {output}")


monitor.add_command(grafana)
