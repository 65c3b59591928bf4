"""Where runs serve their metrics, as Prometheus's file-based service discovery reads it.

Runs may lie on storage that machines share: the same address on another machine is another program's, so what was noted
has the machine's name, and only what can be reached from here is scraped.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.core.sinks import served_at
from headwater.core.storage import atomic_write

JOBS = {"train": "headwater", "data": "headwater-data", "eval": "headwater-eval"}
"""Stage → Prometheus's label `job`: stages of one run may serve at the same time, and are no twins."""
_ENDS = (b'"finish"', b'"stop"', b'"halt"')


class Targets:
    """A file of scrape targets that follows what runs, as far as this machine can reach it.

    Args:
        path: The file; its folder has to exist when it is written.
        runs: Runs to watch, finished or not even begun; the name of its folder is a run's `instance`.
        exporters: Others to scrape: `job` → host and port, for example of node_exporter.

    Raises:
        ConfigError: Two runs have one name, or an exporter has the name of a job of ours.
    """

    def __init__(self, path: Path, runs: Sequence[Path], exporters: Mapping[str, str] | None = None) -> None:
        names = [run.resolve().name for run in runs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError("two runs have one name, which their metrics go by", found=", ".join(twice))
        self._path = path
        self._runs = dict(zip(names, map(RunLayout, runs), strict=True))
        self._exporters = dict(exporters or {})
        if ours := sorted(self._exporters.keys() & set(JOBS.values())):
            raise ConfigError("an exporter has the name of a job of Headwater's own", found=", ".join(ours),
                              hint="give it another, for example node")  # fmt: skip

    def write(self) -> None:
        """Brings the file up to date; it is left alone when nothing changed.

        Raises:
            StorageError: It cannot be written.
        """
        groups = [
            {"targets": [place], "labels": {"instance": name, "job": JOBS[stage]}}
            for name, run in self._runs.items() for stage in JOBS if (place := metrics_place(run, stage)) is not None
        ]  # fmt: skip
        groups += [{"targets": [place], "labels": {"job": job}} for job, place in self._exporters.items()]
        text = json.dumps(groups, indent=1) + "\n"
        if not self._path.is_file() or self._path.read_text() != text:
            atomic_write(self._path, text)


def metrics_place(run: RunLayout, stage: str = "train") -> str | None:
    """Host and port at which this machine reaches a stage's metrics.

    None when the stage has not begun or has ended, or when another machine serves them to itself alone.
    """
    if stage != "train":
        url = served_at(run.serving(stage))
        return None if url is None else _seen_from_here(url, socket.gethostname())
    try:
        lines = (run.train / "events.jsonl").read_bytes().splitlines()
    except OSError:  # it has not begun
        return None
    for line in reversed(lines):
        if any(word in line for word in (b'"metrics"', *_ENDS)):
            try:
                event = json.loads(line)
            except ValueError:  # being written
                continue
            if event.get("kind") in ("finish", "stop", "halt"):
                return None  # its address may be another's by now
            if event.get("kind") == "metrics":
                return _seen_from_here(str(event.get("url")), str(event.get("machine")))
    return None


def _seen_from_here(url: str, machine: str) -> str | None:
    """Host and port for a scraper on this machine, of what a machine serves; none when it cannot reach it."""
    here = machine == socket.gethostname()
    parts = urlsplit(url)
    host = parts.hostname
    if host is None:
        return None
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:  # another name
        return parts.netloc
    if address.is_loopback:
        return parts.netloc if here else None
    if address.is_unspecified and not here:  # on all of its addresses
        return f"{machine}:{parts.port}"
    return parts.netloc


def parse_exporters(given: Sequence[str]) -> dict[str, str]:
    """Exporters as given on the command line, `JOB=HOST:PORT` each.

    Raises:
        ConfigError: One is not of that form, or two have one job.
    """
    found: dict[str, str] = {}
    for each in given:
        job, _, place = each.partition("=")
        host, _, port = place.rpartition(":")
        if not job or not host or "/" in place or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ConfigError("an exporter is not valid", found=each, expected="JOB=HOST:PORT, node=127.0.0.1:9100")
        if job in found:
            raise ConfigError("two exporters have one job", found=job, hint="name them node1 and node2, for example")
        found[job] = place
    return found
