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
