"""The run page's alerts: what the rules say over a log, as Prometheus would."""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from monitor_live_run import LiveRun
from test_monitor_rules import CASES

from headwater.core.events import EventLog
from headwater.monitor import rules
from headwater.monitor.exporter import PrometheusSink
from headwater.monitor.live.alerts import Found, filled, from_log, from_prometheus, seconds
from headwater.monitor.live.charts import View
from headwater.monitor.live.page import RunPage
from headwater.monitor.live.promql import NotSupportedError, Query, Series
from headwater.monitor.live.watch import WatchedRun
from headwater.monitor.up import PROGRAMS, Stack

_LOOKBACK = 300.0  # after which Prometheus drops a series that has no new samples
RECORDINGS = {one.record: one.expr for one in rules.RECORDINGS}


def samples(notation: str) -> list[tuple[float, float]]:
    """Times and values of promtool's notation, a value a minute."""
    found: list[float | None] = []
    for word in notation.split():
        match = re.fullmatch(r"(-?[\d.]+)(?:([+-][\d.]+))?(?:x(\d+))?", word)
        if match is None:
            found.append(None)
            continue
        first, step = float(match[1]), float(match[2] or 0)
        found += [first + step * n for n in range(int(match[3] or 0) + 1)]
    return [(60.0 * n, value) for n, value in enumerate(found) if value is not None]


def finder(given: Sequence[dict[str, str]]) -> tuple[Callable[[str], list[Series]], float]:
    """Finds series by name, and when the last of them ends."""
    made: dict[str, list[Series]] = {}
    last = 0.0
    for one in given:
        name, inside = re.fullmatch(r"(\w+)\{(.*)\}", one["series"]).groups()  # type: ignore[union-attr]
        points = samples(one["values"])
        last = max(last, points[-1][0])
        labels = dict(re.findall(r'(\w+)="([^"]*)"', inside))
        made.setdefault(name, []).append(
            Series(labels, np.array([t for t, _ in points]), np.array([v for _, v in points]))
        )
    return lambda name: made.get(name, []), last


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, cases in CASES.items() for number in range(len(cases))]
)
def test_every_rule_says_over_a_log_what_promtool_says(name: str, number: int) -> None:
    """The cases are those that `test_monitor_rules.py` has promtool judge."""
    fires, given, minute = CASES[name][number]
    (alert,) = (one for one in rules.ALERTS if one.name == name)
    find, last = finder(given)
    query = Query(find, RECORDINGS, now=minute * 60.0, until=last + _LOOKBACK, interval=30.0)
    vector = query(alert.expr, seconds(alert.wait))
    assert any(rows.there.all() for rows in vector.values()) == fires
    assert query.found


@pytest.mark.parametrize(
    "expression", ["deriv(x[5m])", "x offset 5m", "topk(2, x)", "x > bool 2", "2 + 2", "x * on (a) group_right () x"]
)
def test_what_is_not_supported_is_said_so(expression: str) -> None:
    series = [Series({}, np.array([0.0]), np.array([1.0]))]
    with pytest.raises(NotSupportedError):
        Query(lambda name: series, {}, now=60.0, until=1e9)(expression)


def test_summaries_are_filled_as_prometheus_fills_them() -> None:
    text = "{{ $value | humanizePercentage }} of {{ $labels.instance }}, {{ $value }}, {{ $value | humanizeDuration }}"
    assert filled(text, {"instance": "pod"}, 0.5) == "50.0% of pod, 0.5, 0.5 s"


def watched(run: LiveRun, later: float = 1.0) -> WatchedRun:
    found = WatchedRun(run.root, "night", clock=lambda: run.time + later)
    found.refresh(10)
    return found


def by_name(found: Sequence[Found]) -> dict[str, Found]:
    return {one.name: one for one in found}


def test_a_run_that_is_well_fires_nothing(tmp_path: Path) -> None:
    run = LiveRun(tmp_path)
    run.steps(400)
    found = by_name(from_log(watched(run)))
    assert set(found) == {alert.name for alert in rules.ALERTS}
    assert not [one for one in found.values() if one.standing in ("firing", "pending")]
    assert found["HeadwaterMemory"].standing == "unknown", "no log has it"
    assert found["HeadwaterGradientExplosion"].standing == "silent"


def test_spikes_gradients_and_a_kill_fire(tmp_path: Path) -> None:
    run = LiveRun(tmp_path)
    run.log({"headwater_train_spikes_total": 0})
    run.steps(400)
    run.log({"headwater_train_spikes_total": 1})
    run.steps(20, headwater_train_grad_norm=60.0)
    found = from_log(watched(run))
    assert {one.name for one in found if one.standing == "firing"} == {"HeadwaterSpike", "HeadwaterGradientExplosion"}
    assert [one.standing for one in found][:2] == ["firing", "firing"], "the loudest first"
    explosion = by_name(found)["HeadwaterGradientExplosion"]
    assert "night is 60, ten times" in explosion.words and explosion.severity == "critical"
    killed = by_name(from_log(watched(run, later=100)))
    assert (
        killed["HeadwaterGone"].standing == "pending"
        and "fires when that holds for 2 min" in killed["HeadwaterGone"].words
    )
    assert by_name(from_log(watched(run, later=400)))["HeadwaterGone"].standing == "firing"


def test_a_run_that_ended_is_judged_as_of_its_end(tmp_path: Path) -> None:
    run = LiveRun(tmp_path)
    run.steps(400)
    run.log({"headwater_train_ended": 1})
    run.event("finish")
    assert not [one for one in from_log(watched(run, later=1e6)) if one.standing == "firing"]
    assert from_log(WatchedRun(tmp_path / "none")) == []


@contextmanager
def prometheus(answer: object, status: int = 200) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_prometheus_is_believed() -> None:
    alert = {"labels": {"instance": "b"}, "state": "firing", "annotations": {"summary": "b spiked"}}
    rule = [{"name": "HeadwaterSpike", "alerts": [alert]}, {"name": "HeadwaterGone", "alerts": []}, {"name": "Other"}]
    with prometheus({"data": {"groups": [{"rules": rule}]}}) as address:
        found = from_prometheus(address, ["a", "b"])
    assert [one.standing for one in found["a"]] == ["silent", "silent"]
    assert found["b"][0] == Found("HeadwaterSpike", "warning", "firing", "b spiked")


def test_what_fires_comes_first_and_the_severe_before_the_rest(tmp_path: Path) -> None:
    def rule(name: str, run: str, state: str) -> dict[str, object]:
        return {"name": name, "alerts": [{"labels": {"instance": run}, "state": state, "annotations": {}}]}

    told = [rule("HeadwaterSpike", "a", "pending"), rule("HeadwaterRollback", "b", "firing"),
            rule("HeadwaterHalted", "b", "pending"), rule("HeadwaterGone", "b", "firing")]  # fmt: skip
    with prometheus({"data": {"groups": [{"rules": told}]}}) as address:
        assert [one.name for one in from_prometheus(address, ["b"])["b"]] == [
            "HeadwaterGone", "HeadwaterRollback", "HeadwaterHalted", "HeadwaterSpike"
        ]  # fmt: skip
        page = RunPage([tmp_path / "a", tmp_path / "b"], address)
        section = page.state(View())["sections"]["alerts"]
    assert re.findall(r"<b>(Headwater\w+)</b>", section) == [
        "HeadwaterGone", "HeadwaterRollback", "HeadwaterHalted", "HeadwaterSpike"
    ]  # fmt: skip


@pytest.mark.services
@pytest.mark.skipif(
    not all(any(map(shutil.which, choices)) for choices in PROGRAMS.values()), reason="Prometheus is not installed"
)
def test_a_real_prometheus_is_asked(tmp_path: Path) -> None:
    run = tmp_path / "night"
    (run / "train").mkdir(parents=True)
    with PrometheusSink(port=0) as sink, Stack(tmp_path / "stack", [run], port=0, alerts_port=0, interval=0.2) as stack:
        EventLog(run / "train" / "events.jsonl").emit("metrics", 0, url=sink.url, machine=socket.gethostname())
        sink.log(1, {"headwater_train_spikes_total": 0, "headwater_train_ended": 0})
        deadline, spikes, found = time.monotonic() + 60, 0, {}
        while time.monotonic() < deadline:
            found = by_name(from_prometheus(stack.prometheus, ["night", "other"])["night"])
            if found["HeadwaterSpike"].standing == "firing":
                break
            spikes += 1  # one that Prometheus has not seen grow is none to it
            sink.log(1 + spikes, {"headwater_train_spikes_total": spikes})
            time.sleep(0.2)
        assert found["HeadwaterSpike"] == Found(
            "HeadwaterSpike", "warning", "firing", "The loss guard found a spike on night"
        )
        assert found["HeadwaterGone"].standing == "silent" and set(found) == {alert.name for alert in rules.ALERTS}
        assert by_name(from_prometheus(stack.prometheus, ["other"])["other"])["HeadwaterSpike"].standing == "silent"


@pytest.mark.parametrize(("answer", "status"), [({"data": {"groups": []}}, 200), ([], 200), ({}, 500)])
def test_another_server_is_no_prometheus_of_ours(answer: object, status: int) -> None:
    with prometheus(answer, status) as address, pytest.raises(ConnectionError, match="Prometheus at"):
        from_prometheus(address, ["a"])
    with pytest.raises(ConnectionError, match="does not answer"):
        from_prometheus("http://127.0.0.1:9/", ["a"])
