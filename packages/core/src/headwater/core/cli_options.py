"""Options that every stage command shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

LOOPBACK = "127.0.0.1"

Command = TypeVar("Command", bound=Callable[..., Any])


def run_option(command: Command) -> Command:
    """Adds `--run DIR`, passed as `run: Path`."""
    return click.option(
        "--run", "run", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
        help="Run folder: every stage reads and writes under it.",
    )(command)  # fmt: skip


def json_option(command: Command) -> Command:
    """Adds `--json`, passed as `as_json: bool`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")(command)


def metrics_option(command: Command) -> Command:
    """Adds `--metrics-port` and `--metrics-host`, passed as `metrics_port: int | None, metrics_host: str` (see
    `headwater.core.sinks.served`).
    """
    command = click.option(
        "--metrics-host", default=LOOPBACK, show_default=True, metavar="ADDRESS",
        help="Address to serve them on. Whoever reaches it reads them: beyond loopback a firewall or a network policy "
        "has to let in Prometheus alone, as it does in the pods of `headwater k8s`.",
    )(command)  # fmt: skip
    return click.option(
        "--metrics-port", type=click.IntRange(0, 65535), metavar="PORT",
        help="Serve metrics for Prometheus meanwhile; 0: any free port, which is printed.",
    )(command)  # fmt: skip


def recipe_options(command: Command) -> Command:
    """Adds `--recipe`, `--run`, `--json` and trailing `OVERRIDES` (`recipe: str, run: Path, as_json, overrides`)."""
    command = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")(command)
    command = json_option(command)
    command = run_option(command)
    return click.option(
        "--recipe", required=True, metavar="FILE|NAME",
        help="Recipe: a YAML file, or the name of one in ./recipes. Trailing KEY=VALUE arguments override it, "
        "for example train.steps=200.",
    )(command)  # fmt: skip
