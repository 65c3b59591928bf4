"""Prometheus, Alertmanager and, where it is installed, Grafana for the runs of one machine, all in place, on loopback.

They are the programs themselves, found on the PATH. What a run serves its metrics on is read from its folder, again and
again: a run that starts later, or goes on at another port, is found without a restart.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from headwater.core.children import end_with_parent
from headwater.core.console import warn
from headwater.core.errors import ConfigError, StorageError, TrainError
from headwater.core.ports import free_port, is_free
from headwater.core.storage import atomic_write, storage_errors
from headwater.monitor import rules
from headwater.monitor.grafana import local
from headwater.monitor.grafana.provision import write_provisioning
from headwater.monitor.targets import JOBS, Targets

PROGRAMS = {"prometheus": ("prometheus",), "alertmanager": ("alertmanager", "prometheus-alertmanager")}
_READY_SECONDS = 60.0
_FAILURES = 3  # a busy machine may be slow to answer
_PORTS = "choose other ports: --port, --alerts-port, --grafana-port; 0 takes any free one"
# Our own addresses, never through a proxy.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Stack:
    """Prometheus, Alertmanager and perhaps Grafana in processes of their own. A context manager: leaving it ends them.

    Args:
        folder: Configuration, logs and data; what it holds is used again.
        runs: Runs to watch, finished or not even begun; the name of its folder is a run's `instance`.
        port: Of Prometheus; 0 takes a free one.
        alerts_port: Of Alertmanager; 0 takes a free one.
        grafana_port: Of Grafana, which is started where it is installed; 0 takes a free one, none starts none.
        webhook: Where alerts are posted, as Alertmanager's webhook; none: they are shown only.
        interval: Seconds between two scrapes, and between two evaluations of the rules.
        exporters: Others to scrape: `job` → host and port, for example of node_exporter.

    Raises:
        ConfigError: A program is not installed, or two runs have one name.
        TrainError: One does not start.
    """

    def __init__(
        self, folder: Path, runs: Sequence[Path], *, port: int = 9090, alerts_port: int = 9093,
        grafana_port: int | None = None, webhook: str | None = None, interval: float = 15.0,
        exporters: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._programs = {name: _program(name) for name in PROGRAMS}
        self._folder, self._webhook, self._interval = folder.absolute(), webhook, interval
        self._targets = Targets(self._folder / "targets.json", runs, exporters)
        self._port, self._alerts_port = port or free_port(), alerts_port or free_port()
        found = None if grafana_port is None else next(filter(None, map(shutil.which, local.PROGRAMS)), None)
        if found is not None:
            self._programs["grafana"] = found
        self._grafana_port = grafana_port or free_port()
        self._stop = threading.Event()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ending = ExitStack()

    @property
    def prometheus(self) -> str:
        """Address of Prometheus."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def alertmanager(self) -> str:
        """Address of Alertmanager."""
        return f"http://127.0.0.1:{self._alerts_port}"

    @property
    def grafana(self) -> str | None:
        """Address of Grafana, or none where it is not installed."""
        return f"http://127.0.0.1:{self._grafana_port}" if "grafana" in self._programs else None

    @property
    def password_file(self) -> Path:
        """Holds the password of Grafana's `admin`."""
        return self._folder / "grafana-admin-password"

    def __enter__(self) -> Stack:
        with self._ending as ending:
            self._write()
            self._start(ending, "alertmanager", self._alerts_port, f"{self.alertmanager}/-/ready", [
                self._programs["alertmanager"], "--config.file=alertmanager.yml", "--storage.path=alertmanager",
                "--cluster.listen-address=", f"--web.listen-address=127.0.0.1:{self._alerts_port}",
            ])  # fmt: skip
            self._start(ending, "prometheus", self._port, f"{self.prometheus}/-/ready", [
                self._programs["prometheus"], "--config.file=prometheus.yml", "--storage.tsdb.path=prometheus",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ])  # fmt: skip
            if self.grafana is not None:
                started = local.command(self._programs["grafana"], self._write_grafana())
                self._start(ending, "grafana", self._grafana_port, f"{self.grafana}/api/health", started)
            watcher = threading.Thread(target=self._follow, name="targets", daemon=True)
            watcher.start()
            ending.callback(watcher.join)
            ending.callback(self._stop.set)
            self._ending = ending.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.close()

    def firing(self) -> list[dict[str, str]]:
        """Labels and summary of each alert that fires now.

        Raises:
            TrainError: One of the programs is gone.
        """
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise TrainError(f"{name} has ended", found=f"exit code {process.returncode}",
                                 hint=f"see {self._folder / name}.log")  # fmt: skip
        alerts = self._alerts()
        return [
            alert["labels"] | {"summary": alert["annotations"].get("summary", "")}
            for alert in alerts if alert["state"] == "firing"
        ]  # fmt: skip

    def _alerts(self) -> list[dict[str, Any]]:
        for failures in range(1, _FAILURES + 1):
            try:
                return fetch(f"{self.prometheus}/api/v1/alerts")["data"]["alerts"]
            except (OSError, HTTPException) as error:
                if failures == _FAILURES:
                    raise TrainError("Prometheus does not answer any more", found=str(error),
                                     hint=f"see {self._folder / 'prometheus.log'}") from error  # fmt: skip
        raise AssertionError

    def _write(self) -> None:
        """The configuration of Prometheus and Alertmanager."""
        try:
            with storage_errors("create", self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
            self._targets.write()
            write_prometheus(self._folder, f"127.0.0.1:{self._alerts_port}", self._interval)
            write_alertmanager(self._folder, self._webhook, self._interval)
        except StorageError as error:
            error.hint = "name another folder for them, outside the run: --folder DIR"
            raise

    def _write_grafana(self) -> Path:
        folder, config = self._folder / "provisioning", self._folder / "grafana.ini"
        boards = write_provisioning(folder, self.prometheus, self.alertmanager)
        atomic_write(config, local.settings(
            self._grafana_port, data=str(self._folder / "grafana"), provisioning=str(folder),
            password_file=str(local.password(self.password_file)), home_dashboard=str(boards / "headwater-run.json"),
        ))  # fmt: skip
        return config

    def _start(self, ending: ExitStack, name: str, port: int, ready: str, command: list[str]) -> None:
        if not is_free(port):  # whatever answers there is not ours
            raise TrainError(f"{name} cannot listen on port {port}", found="another program does", hint=_PORTS)
        log = self._folder / f"{name}.log"
        with storage_errors("write", log):
            stream = ending.enter_context(log.open("wb"))
        process = subprocess.Popen(
            command, cwd=self._folder, stdout=stream, stderr=stream, preexec_fn=end_with_parent()
        )  # fmt: skip
        ending.callback(_end, process)
        self._processes[name] = process
        deadline = time.monotonic() + _READY_SECONDS
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace").strip().splitlines()[-3:]
                raise TrainError(f"{name} does not start on port {port}", found="\n".join(said),
                                 hint=f"the whole log is {log}")  # fmt: skip
            time.sleep(0.05)

    def _follow(self) -> None:
        while not self._stop.wait(min(self._interval, 5.0)):
            try:
                self._targets.write()
            except Exception as error:  # what is told of the runs that are known goes on
                warn(f"the list of runs to watch could not be written: {error}")


def write_prometheus(folder: Path, alertmanager: str, interval: float) -> None:
    """Writes prometheus.yml and headwater.rules.yml; targets.json is to lie beside them.

    Args:
        folder: Where; it has to exist.
        alertmanager: Host and port of Alertmanager, as Prometheus reaches it.
        interval: Seconds between two scrapes, and between two evaluations of the rules.
    """
    step = _milliseconds(interval)
    atomic_write(folder / "headwater.rules.yml", rules.as_yaml())
    _write_yaml(folder / "prometheus.yml", {
        "global": {"scrape_interval": step, "scrape_timeout": step, "evaluation_interval": step},
        "rule_files": ["headwater.rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            {"job_name": JOBS["train"], "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "5s"}]},
        ],
    })  # fmt: skip


def write_alertmanager(folder: Path, webhook: str | None, interval: float) -> None:
    """Writes alertmanager.yml, for its owner alone: the webhook's address may hold a key.

    Args:
        folder: Where; it has to exist.
        webhook: Where alerts are posted, as Alertmanager's webhook; none: they are shown only.
        interval: Seconds that it waits for more alerts of a group.
    """
    receiver = {"webhook_configs": [{"url": webhook, "send_resolved": True}]} if webhook else {}
    path = folder / "alertmanager.yml"
    _write_yaml(path, {
        "route": {"receiver": "headwater", "group_by": ["alertname", "instance"],
                  "group_wait": _milliseconds(interval), "group_interval": "1m", "repeat_interval": "4h"},
        "receivers": [{"name": "headwater", **receiver}],
    })  # fmt: skip
    with storage_errors("protect", path):
        path.chmod(0o600)


def _milliseconds(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def fetch(url: str) -> Any:
    """The JSON of a page of this machine."""
    with _OPENER.open(url, timeout=10) as answer:
        return json.load(answer)


def show_changes(stack: Stack, say: Callable[[str], None], stopped: threading.Event, seconds: float) -> None:
    """Says which alerts come and go, until `stopped` is set."""
    before: dict[frozenset[tuple[str, str]], dict[str, str]] = {}
    while not stopped.wait(seconds):
        now = {frozenset(each.items() - {("summary", each["summary"])}): each for each in stack.firing()}
        for key in now.keys() - before.keys():
            say(f"firing    {now[key]['alertname']}: {now[key]['summary']}")
        for key in before.keys() - now.keys():
            say(f"resolved  {before[key]['alertname']}: {before[key]['summary']}")
        before = now


def _program(name: str) -> str:
    found = next((path for each in PROGRAMS[name] if (path := shutil.which(each))), None)
    if found is None:
        raise ConfigError(
            f"{name} is not installed", found=f"no {' and no '.join(PROGRAMS[name])} on the PATH",
            hint="apt install prometheus prometheus-alertmanager, or take them from https://prometheus.io/download",
        )  # fmt: skip
    return found


def _write_yaml(path: Path, value: dict[str, Any]) -> None:
    atomic_write(path, yaml.safe_dump(value, sort_keys=False))


def _answers(url: str) -> bool:
    try:
        with _OPENER.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, HTTPException):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
