"""`headwater monitor grafana`; only click and the standard library are imported before one of its commands runs."""

from __future__ import annotations

from pathlib import Path

import click

_prometheus = click.option(
    "--prometheus", default="http://127.0.0.1:9090", show_default=True, metavar="URL",
    help="Where Grafana reaches Prometheus.",
)  # fmt: skip
_alertmanager = click.option("--alertmanager", metavar="URL", help="Where Grafana reaches Alertmanager.")


@click.group(short_help="Dashboards and data sources for Grafana: as files, as ConfigMaps, or sent to a server.")
def grafana() -> None:
    """Dashboards and data sources for Grafana: as files, as ConfigMaps, or sent to a server."""


@grafana.command("provision")
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Folder to write; Grafana's paths.provisioning is to point to it.")  # fmt: skip
@_prometheus
@_alertmanager
def provision(output: Path, prometheus: str, alertmanager: str | None) -> None:
    """Write what Grafana reads when it starts: data sources and dashboards.

    \b
    headwater monitor grafana provision --output provisioning
    grafana server … cfg:paths.provisioning=$PWD/provisioning
    """
    from headwater.core import console

    from .provision import write_provisioning

    write_provisioning(output, prometheus, alertmanager)
    console.done("grafana provision", str(output))


@grafana.command("configmap")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Default: stdout.")
@click.option("--namespace", metavar="NAME", help="Default: none is named; kubectl -n or kustomize decides.")
@click.option("--prometheus", metavar="URL", help="Also make the data source: where Grafana's pod reaches Prometheus.")
@_alertmanager
def configmap(output: Path | None, namespace: str | None, prometheus: str | None, alertmanager: str | None) -> None:
    """Print one ConfigMap a dashboard, with the labels that the sidecar of Grafana's Helm charts looks for.

    \b
    headwater monitor grafana configmap | kubectl apply -n monitoring -f -
    """
    from headwater.core import console
    from headwater.core.errors import ConfigError
    from headwater.core.storage import atomic_write

    from .provision import as_manifests, dashboard_config_maps, datasource_config_map

    if alertmanager and not prometheus:
        raise ConfigError("--alertmanager goes with --prometheus", found="only --alertmanager",
                          hint="the data source of Prometheus names its Alertmanager; give both")  # fmt: skip
    made = dashboard_config_maps(namespace)
    if prometheus:
        made.append(datasource_config_map(prometheus, alertmanager, namespace))
    text = as_manifests(made)
    if output is None:
        click.echo(text, nl=False)
        return
    atomic_write(output, text)
    console.done("grafana configmap", f"{len(made)} ConfigMaps: {output}")


@grafana.command("push")
@click.argument("url")
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Holds a service account's token (default: the environment variable GRAFANA_TOKEN).")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show what would change, with a diff for each update, and write nothing.")
@click.option("--prometheus", metavar="URL", help="Make or update the data source: where Grafana reaches Prometheus.")
@_alertmanager
@click.option("--alert-rules", is_flag=True, help="Let Grafana evaluate the alert rules itself, without Alertmanager.")
@click.option("--runbook", metavar="URL", help="Where your copy of docs/runbook.md is; alert rules link to it.")
@click.option("--webhook-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Contact point: holds the address that alerts are posted to.")  # fmt: skip
@click.option("--email", metavar="ADDRESS", help="Contact point: where alerts are sent; several with ; between them.")
@click.option("--ca-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Certificates to trust in place of the system's.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True,
              metavar="SECONDS", help="For each answer.")  # fmt: skip
def push_command(
    url: str, token_file: Path | None, dry_run: bool, prometheus: str | None, alertmanager: str | None,
    alert_rules: bool, runbook: str | None, webhook_file: Path | None, email: str | None, ca_file: Path | None,
    timeout: float,
) -> None:  # fmt: skip
    """Bring a Grafana server up to date: a folder, its dashboards, and what else is asked for. Nothing is deleted.

    A second push changes nothing. Things are known by their uid, so that what others made is not touched.

    \b
    GRAFANA_TOKEN=… headwater monitor grafana push https://grafana.example --dry-run
    headwater monitor grafana push https://grafana.example --token-file token --prometheus http://prometheus:9090
    """
    from collections import Counter

    from headwater.core import console
    from headwater.core.errors import ConfigError
    from headwater.core.storage import storage_errors
    from headwater.monitor.rules import RUNBOOK

    from .push import Wanted, push
    from .server import connect, token_of

    if alertmanager and not prometheus:
        raise ConfigError("--alertmanager goes with --prometheus", found="only --alertmanager", hint="give both")
    webhook = None
    if webhook_file is not None:
        with storage_errors("read", webhook_file):
            webhook = webhook_file.read_text(encoding="utf-8").strip()
    wanted = Wanted(prometheus, alertmanager, alert_rules, runbook or RUNBOOK, webhook, email)
    server = connect(url, token_of(token_file), timeout=timeout, ca_file=ca_file)
    counts: Counter[str] = Counter()
    for change in push(server, wanted, dry_run=dry_run):
        counts[change.action] += 1
        if change.action != "keep":
            click.echo(f"{'would ' if dry_run else ''}{change.action} {change.kind} {change.name}")
            if dry_run and change.difference:
                click.echo(change.difference)
    told = f"{counts['create']} created, {counts['update']} updated, {counts['keep']} unchanged"
    console.done("grafana push", f"{'nothing was written: ' if dry_run else ''}{told} · {server.url}")


@grafana.command("panels")
@_prometheus
@click.option("--last", type=click.FloatRange(min=1), default=3600.0, show_default=True, metavar="SECONDS",
              help="The span of time to ask for, up to now.")  # fmt: skip
@click.option("--rate-interval", default="1m", show_default=True, metavar="DURATION",
              help="For $__rate_interval; Grafana takes four scrapes.")  # fmt: skip
@click.option("--markdown", "as_markdown", is_flag=True, help="As a table for a page.")
@click.option("--empty", "only_empty", is_flag=True, help="Only what returned nothing.")
def panels_command(prometheus: str, last: float, rate_interval: str, as_markdown: bool, only_empty: bool) -> None:
    """Ask a Prometheus for the data of every panel: which are empty here?

    \b
    headwater monitor grafana panels --prometheus http://127.0.0.1:9090 --empty
    """
    import time

    from headwater.core import console
    from headwater.monitor.dashboards import BOARDS

    from . import panels

    end = time.time()
    window = panels.Window(end - last, end, max(last / 1000, 1.0), rate_interval)
    found = [each for each in panels.answers(prometheus, BOARDS, window) if not (only_empty and each.series)]
    if as_markdown:
        click.echo(panels.markdown(found), nl=False)
    else:
        console.table(panels.COLUMNS, panels.rows(found))
