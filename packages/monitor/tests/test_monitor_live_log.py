"""The run page's reading: a log that grows, is cut, is written anew, and is gone."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monitor_live_run import BEGAN, LiveRun

from headwater.core.lock import exclusive
from headwater.monitor.live import tail
from headwater.monitor.live.log import EventLines, MetricLog
from headwater.monitor.live.watch import WatchedRun, duration

LOSS = "headwater_train_loss"


def read_all(log: MetricLog) -> MetricLog:
    before = -1
    while (left := log.read()) and left != before:
        before = left
    return log


def columns(log: MetricLog) -> dict[str, list[list[float]]]:
    return {name: [part.tolist() for part in log.points(name)] for name in log.names}


def row(step: int, **values: object) -> str:
    return json.dumps({"step": step, "time_seconds": BEGAN + step, **values}) + "\n"


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.tuples(st.integers(0, 9), st.floats(width=32) | st.none() | st.integers(-5, 5)), max_size=40),
    cuts=st.lists(st.integers(1, 300), max_size=8), piece=st.integers(20, 400),
)  # fmt: skip
def test_a_log_read_in_any_pieces_is_the_log_read_whole(
    values: list[tuple[int, float | None]], cuts: list[int], piece: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    text = "".join(
        row(n, **{LOSS: v if v is None or math.isfinite(v) else str(v), f"headwater_train_x{name}": n})
        for n, (name, v) in enumerate(values)
    ).encode()
    before = tail.PIECE
    try:
        tail.PIECE = piece
        log = MetricLog(folder)
        at = 0
        for cut in [*cuts, len(text)]:
            with (folder / "metrics.jsonl").open("ab") as stream:
                stream.write(text[at : at + cut])
            at += cut
            read_all(log)
    finally:
        tail.PIECE = before
    assert len(log) == len(values) and log.damaged == 0
    expected = [float(v) for _, v in values if v is not None]
    np.testing.assert_array_equal(log.points(LOSS)[1], expected)
    assert log.points(LOSS)[0].tolist() == [n for n, (_, v) in enumerate(values) if v is not None]


def test_large_and_small_pieces_are_parsed_alike(tmp_path: Path) -> None:
    many = [row(n, **{LOSS: n / 7, **({"headwater_train_mfu": 0.5} if n % 3 == 0 else {})}) for n in range(2000)]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(many))
    at_once = read_all(MetricLog(tmp_path))
    assert path.stat().st_size > 1 << 16
    path.write_text("")
    log = MetricLog(tmp_path)
    for line in many:
        with path.open("a") as stream:
            stream.write(line)
        log.read()
    assert columns(log) == columns(at_once)
    assert log.last_time == at_once.last_time == BEGAN + 1999
    path.write_text("".join([*many, row(2000, **{LOSS: "nan"}), "not json\n", '["no object"]\n']))
    odd = read_all(MetricLog(tmp_path))
    assert len(odd) == 2001 and odd.damaged == 2 and math.isnan(odd.points(LOSS)[1][-1])


def test_a_line_that_is_not_whole_yet_is_read_when_it_is(tmp_path: Path) -> None:
    path, log = tmp_path / "metrics.jsonl", MetricLog(tmp_path)
    whole = row(1, **{LOSS: 2.5})
    path.write_text(whole + whole[:20])
    assert read_all(log).points(LOSS)[1].tolist() == [2.5]
    with path.open("a") as stream:
        stream.write(whole[20:])
    assert read_all(log).points(LOSS)[1].tolist() == [2.5, 2.5]
    assert log.damaged == 0


def test_after_a_rollback_only_the_end_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "PIECE", 1 << 14)
    run = LiveRun(tmp_path)
    run.steps(400)
    log = read_all(MetricLog(run.train))
    run.roll_back(300)
    parsed: list[int] = []
    parse = log._parse
    monkeypatch.setattr(log, "_parse", lambda content: (parsed.append(len(content)), parse(content)))
    read_all(log)
    assert columns(log) == columns(read_all(MetricLog(run.train)))
    assert log.last_step == 300
    assert 0 < sum(parsed) < 3 << 14 < run.metrics.stat().st_size
    run.steps(50)
    assert columns(read_all(log)) == columns(read_all(MetricLog(run.train)))


def test_a_log_that_starts_anew_or_is_gone_is_forgotten(tmp_path: Path) -> None:
    run = LiveRun(tmp_path)
    run.steps(30)
    log = read_all(MetricLog(run.train))
    run.metrics.write_text(row(1, **{LOSS: 1.0}) * 40)
    assert read_all(log).points(LOSS)[1].tolist() == [1.0] * 40
    shutil.rmtree(run.root)
    assert len(read_all(log)) == 0 and log.names == []


def test_losses_stand_in_for_metrics(tmp_path: Path) -> None:
    losses = [{"step": 1, "loss": 3.0, "grad_norm": None, "tokens": 8}, {"step": 2, "loss": None, "grad_norm": 1}]
    (tmp_path / "losses.jsonl").write_text("".join(json.dumps(one) + "\n" for one in losses))
    log = read_all(MetricLog(tmp_path))
    assert log.points(LOSS)[1].tolist() == [3.0] and log.points("headwater_train_grad_norm")[0].tolist() == [2]
    assert log.last_time is None
    (tmp_path / "metrics.jsonl").write_text(row(5, **{LOSS: 1.0}))
    assert read_all(log).points(LOSS)[0].tolist() == [5]


def test_events_follow_their_file(tmp_path: Path) -> None:
    run = LiveRun(tmp_path)
    events = EventLines(run.events)
    events.read()
    run.steps(2)
    run.spike()
    with run.events.open("a") as stream:
        stream.write('{"kind": "halt"')
    assert events.read() > 0
    assert [one["kind"] for one in events.rows] == ["start", "skip"]
    run.events.write_text("")
    events.read()
    assert events.rows == []


class Clock:
    now = BEGAN

    def __call__(self) -> float:
        return self.now


def test_the_state_of_a_run_from_nothing_to_its_end(tmp_path: Path) -> None:
    root, clock = tmp_path / "run", Clock()
    watched = WatchedRun(root, clock=clock)

    def phase() -> str:
        watched.refresh(1)
        return watched.state().phase

    assert phase() == "waiting" and "there is no" in watched.state().words
    root.mkdir()
    assert phase() == "waiting" and "holds nothing" in watched.state().words
    (root / "documents").mkdir()
    assert phase() == "data"
    run = LiveRun(root, planned=1000)
    run.steps(100)
    clock.now = run.time + 5
    assert phase() == "running"
    state = watched.state()
    assert (state.step, state.planned, state.seconds_left) == (100, 1000, 900.0)
    clock.now = run.time + 200
    assert phase() == "silent", "killed: nobody holds it"
    assert "3 min 20 s" in watched.state().words
    with exclusive(run.train):
        assert phase() == "running", "it hangs, or a step is long"
        assert "no step for 3 min 20 s" in watched.state().words
    run.event("resume")
    clock.now = run.time + 5
    assert phase() == "running"
    for kind, expected in (("stop", "stopped"), ("resume", "running"), ("halt", "halted"), ("resume", "running"),
                           ("finish", "finished")):  # fmt: skip
        run.event(kind)
        assert phase() == expected
    clock.now += 10**6
    assert phase() == "finished"
    shutil.rmtree(root)
    assert phase() == "waiting"


def test_a_file_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    run = LiveRun(tmp_path)
    run.metrics.unlink()
    run.metrics.mkdir()
    watched = WatchedRun(tmp_path)
    watched.refresh(1)
    assert any("metrics.jsonl cannot be read" in one for one in watched.problems)
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "funnel.json").write_text("{")
    assert watched.funnel() is None and any("funnel.json" in one for one in watched.problems)
    watched.problems = []
    assert watched.funnel() is None and any("funnel.json" in one for one in watched.problems), "as long as it is so"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (0.37, "0.37 s"), (45, "45 s"), (200, "3 min 20 s"), (7200, "2 h"), (90_000, "1 d 1 h")],
)
def test_durations_have_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
