"""Prometheus and Alertmanager as programs: metrics of a run come in, alerts reach a webhook."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headwater.core.errors import ConfigError, StorageError, TrainError
from headwater.core.events import EventLog
from headwater.core.layout import RunLayout
from headwater.monitor.cli import monitor
from headwater.monitor.exporter import PrometheusSink
from headwater.monitor.targets import metrics_place
from headwater.monitor.up import PROGRAMS, Stack, fetch, show_changes

NOT_YET = {"headwater_train_ended": 0}
missing = [name for name, choices in PROGRAMS.items() if not any(map(shutil.which, choices))]
needs_programs = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address, and the alerts that were posted to it."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.extend(body["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", got
    server.shutdown()
    server.server_close()


def begun(run: Path, sink: PrometheusSink) -> None:
    (run / "train").mkdir(parents=True, exist_ok=True)
    EventLog(run / "train" / "events.jsonl").emit("metrics", 0, url=sink.url, machine=socket.gethostname())


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)  # a poll of other programs, which tell nobody
    raise AssertionError(f"nothing came in {seconds} s")


@needs_programs
@pytest.mark.slow
@pytest.mark.services
def test_spikes_and_lost_runs_reach_the_webhook_and_finished_runs_do_not(
    tmp_path: Path, webhook: tuple[str, list[dict[str, Any]]]
) -> None:
    address, got = webhook
    sinks = {name: PrometheusSink() for name in ("good", "done", "killed")}
    runs = [tmp_path / name for name in sinks]
    begun(runs[0], sinks["good"])

    def names() -> set[tuple[str, str]]:
        return {(alert["labels"]["alertname"], alert["labels"]["instance"]) for alert in got}

    with Stack(tmp_path / "stack", runs, port=0, alerts_port=0, webhook=address, interval=0.5) as stack:
        for run, sink in zip(runs[1:], list(sinks.values())[1:], strict=True):
            begun(run, sink)  # found while it runs

        def known(metric: str) -> dict[str, float]:
            found = fetch(f"{stack.prometheus}/api/v1/query?query={metric}")["data"]["result"]
            return {row["metric"]["instance"]: float(row["value"][1]) for row in found}

        for name, sink in sinks.items():
            step = 90 if name == "done" else 7
            sink.log(step, {"headwater_train_step": step, "headwater_train_steps_planned": 100, **NOT_YET})
        scrapes = "count_over_time(headwater_train_step%5B1m%5D)"
        until(lambda: len(known(scrapes)) == 3 and min(known(scrapes).values()) >= 2)
        # Closed at once, and yet it is seen.
        sinks["done"].log(90, {"headwater_train_ended": 1})
        for name in ("done", "killed"):
            sinks[name].close()
        until(lambda: set(known("headwater_train_step")) == {"good"})
        sinks["good"].log(8, {"headwater_train_spikes_total": 1, "headwater_train_nonfinite_steps_total": 1})
        until(lambda: names() >= {("HeadwaterSpike", "good"), ("HeadwaterNonFinite", "good")})
        pending = fetch(f"{stack.prometheus}/api/v1/alerts")["data"]["alerts"]
        gone = {each["labels"]["instance"] for each in pending if each["labels"]["alertname"] == "HeadwaterGone"}
        assert gone == {"killed"}, "a run that was done is not missed"
        assert {each["alertname"] for each in stack.firing()} == {"HeadwaterSpike", "HeadwaterNonFinite"}
        said: list[str] = []
        stopped = threading.Event()
        thread = threading.Thread(target=show_changes, args=(stack, said.append, stopped, 0.1))
        thread.start()
        until(lambda: len(said) == 2)
        stopped.set()
        thread.join()
        assert any(line.startswith("firing    HeadwaterSpike: The loss guard") for line in said)
        assert all("docs/runbook.md#headwater" in alert["annotations"]["runbook_url"] for alert in got)
    sinks["good"].close()
    with pytest.raises(OSError, match="refused"):
        fetch(f"{stack.prometheus}/api/v1/alerts")


def test_where_a_run_serves_its_metrics_is_its_last_word(tmp_path: Path) -> None:
    run = RunLayout(tmp_path)
    assert metrics_place(run) is None
    run.train.mkdir()
    log = EventLog(run.train / "events.jsonl")
    log.emit("start", 0)
    assert metrics_place(run) is None
    log.emit("metrics", 0, url="http://127.0.0.1:1234/metrics", machine=socket.gethostname())
    assert metrics_place(run) == "127.0.0.1:1234"
    log.emit("finish", 3)
    assert metrics_place(run) is None, "its port may be another's by now"
    log.emit("metrics", 5, url="http://[::1]:9/metrics", machine=socket.gethostname())
    with log.path.open("a") as stream:
        stream.write('{"kind": "metrics", "url": "http://x')
    assert metrics_place(run) == "[::1]:9"


@pytest.mark.parametrize(("host", "here", "elsewhere"), [
    ("127.0.0.1", "127.0.0.1:9464", None),
    ("localhost", "localhost:9464", None),
    ("[::1]", "[::1]:9464", None),
    ("0.0.0.0", "0.0.0.0:9464", "gpu-7:9464"),
    ("[::]", "[::]:9464", "gpu-7:9464"),
    ("10.1.2.3", "10.1.2.3:9464", "10.1.2.3:9464"),
    ("gpu-7.example.org", "gpu-7.example.org:9464", "gpu-7.example.org:9464"),
])  # fmt: skip
def test_what_a_machine_serves_to_itself_is_not_looked_for_on_another(
    tmp_path: Path, host: str, here: str, elsewhere: str | None
) -> None:
    run = RunLayout(tmp_path)
    run.train.mkdir()
    log = EventLog(run.train / "events.jsonl")
    for machine, place in ((socket.gethostname(), here), ("gpu-7", elsewhere)):
        log.emit("metrics", 0, url=f"http://{host}:9464/metrics", machine=machine)
        assert metrics_place(run) == place


@needs_programs
def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(TrainError, match=f"cannot listen on port {server.getsockname()[1]}"),
        Stack(tmp_path / "stack", [tmp_path / "a"], port=0, alerts_port=server.getsockname()[1]),
    ):
        pass


@needs_programs
def test_a_run_whose_folder_cannot_be_written_needs_another_for_the_programs(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file, which is as little a place for a folder as what is read-only")
    with (
        pytest.raises(StorageError, match=r"(?s)cannot create .*run/monitor.*to do: .*--folder DIR"),
        Stack(tmp_path / "run" / "monitor", [tmp_path / "run"], port=0, alerts_port=0),
    ):
        pass


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="one name"):
        Stack(tmp_path, [tmp_path / "a" / "x", tmp_path / "b" / "x"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="prometheus is not installed") as caught:
        Stack(tmp_path, [tmp_path / "a"])
    assert "apt install" in str(caught.value)
    assert CliRunner().invoke(monitor, ["up"]).exit_code == 2
