"""Dashboards: they name what there is, and every panel gets data from a real Prometheus."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from monitor_cluster_exporter import serving
from test_monitor_up import begun, needs_programs, until

from headwater.core.errors import ConfigError
from headwater.core.metrics import DATA_PLANNED, TABLE
from headwater.monitor.cli import monitor
from headwater.monitor.dashboards import BOARDS
from headwater.monitor.exporter import PrometheusSink
from headwater.monitor.grafana.build import as_json
from headwater.monitor.grafana.panels import Window, answers
from headwater.monitor.rules import RECORDINGS
from headwater.monitor.up import Stack

EXPRESSIONS = [(board.uid, panel.title, query.expr) for board in BOARDS for panel in board.panels
               for query in panel.queries]  # fmt: skip


def names(expr: str) -> set[str]:
    return set(re.findall(r"\bheadwater[:_][a-z_:0-9]+", expr))


def test_every_metric_is_on_a_dashboard_and_nothing_else() -> None:
    shown = set().union(*(names(expr) for *_, expr in EXPRESSIONS))
    recorded = {rule.record: names(rule.expr) for rule in RECORDINGS}
    behind = shown | set().union(*(recorded[name] for name in shown & recorded.keys()))
    parts = {f"{metric.name}_{part}": metric.name for metric in TABLE.values() if metric.buckets
             for part in ("sum", "count", "bucket")}  # fmt: skip
    behind = {parts.get(name, name) for name in behind}
    assert behind - recorded.keys() == set(TABLE)


def test_the_command_writes_what_grafana_reads(tmp_path: Path) -> None:
    pytest.importorskip("grafana_foundation_sdk")
    done = CliRunner().invoke(monitor, ["dashboards", "--output", str(tmp_path / "boards")])
    assert done.exit_code == 0, done.output
    files = {path.name for path in (tmp_path / "boards").iterdir()}
    assert files == {f"{board.uid}.json" for board in BOARDS}
    for board in BOARDS:
        made = json.loads((tmp_path / "boards" / f"{board.uid}.json").read_text())
        assert made["uid"] == board.uid and {each["name"] for each in made["templating"]["list"]} == {
            "datasource", *(variable.name for variable in board.variables)
        }  # fmt: skip
        taken: set[tuple[int, int]] = set()
        for panel in made["panels"]:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
            assert place["x"] + place["w"] <= 24 and not cells & taken, f"{panel['title']} lies over another"
            taken |= cells
        panels = [panel for panel in made["panels"] if panel["type"] != "row"]
        assert all(panel["description"] for panel in panels), "panels explain themselves"
        assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk.builders", None)
    with pytest.raises(ConfigError, match="grafana-foundation-sdk") as caught:
        as_json(BOARDS[0])
    assert "headwater-monitor[grafana]" in str(caught.value)


@needs_programs
@pytest.mark.skipif(shutil.which("prometheus-node-exporter") is None, reason="there is no prometheus-node-exporter")
@pytest.mark.slow
@pytest.mark.services
def test_every_panel_gets_data_from_a_real_prometheus(tmp_path: Path) -> None:
    """While a run trains: steps go on, counters grow. Of a cluster only the machine's own node_exporter is real."""
    stopped = threading.Event()
    with (
        PrometheusSink() as sink, serving() as cluster, node_exporter() as node,
        Stack(tmp_path / "stack", [tmp_path / "run"], port=0, alerts_port=0, interval=0.5,
              exporters={"cluster": cluster, "node": node}) as stack,
    ):  # fmt: skip
        begun(tmp_path / "run", sink)

        def train() -> None:
            step = 0
            while not stopped.wait(0.1):
                step += 1
                for phase in ("loader", "gradient_norm", "update"):
                    values = {metric.name: 0.1 if metric.kind == "histogram" else step for metric in TABLE.values()}
                    values[DATA_PLANNED.name] = step if phase == "loader" else 10_000  # one step is done
                    sink.log(step, {
                        metric.series(**dict.fromkeys(metric.labels, phase)): values[metric.name]
                        for metric in TABLE.values()
                    })  # fmt: skip

        thread = threading.Thread(target=train)
        thread.start()
        try:

            def empty() -> list[tuple[str, str, str]]:
                now = time.time()
                found = answers(stack.prometheus, BOARDS, Window(now - 30, now, 1, "10s"))
                return [(each.board.title, each.panel.title, each.query.expr) for each in found if not each.series]

            with suppress(AssertionError):  # and say which
                until(lambda: not empty(), 60)
            assert not empty()
            table = CliRunner().invoke(monitor, ["grafana", "panels", "--prometheus", stack.prometheus, "--markdown",
                                                 "--last", "30", "--rate-interval", "10s"])  # fmt: skip
            assert table.exit_code == 0 and table.output.count("\n") == len(EXPRESSIONS) + 2, table.output
            dead = CliRunner().invoke(monitor, ["grafana", "panels", "--prometheus", "http://127.0.0.1:1"])
            assert "cannot be asked" in str(dead.exception)
        finally:
            stopped.set()
            thread.join()


@contextmanager
def node_exporter() -> Iterator[str]:
    """The real one, of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
    command = ["prometheus-node-exporter", f"--web.listen-address={place}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield place
        finally:
            process.terminate()
