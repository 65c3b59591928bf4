"""The measurement of the detectors, and what it finds on the recorded curves where they are there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from headwater.core.errors import ConfigError
from headwater.train.cli import train
from headwater.train.guard.bench import EVENT, Share, Tally, measure, watch
from headwater.train.guard.curves import FIRST, SPIKES, made_curve, places, read_curves

RECORDED = Path(__file__).resolve().parents[4] / "shared" / "loss-curves"


class Above:
    """A detector that alarms above 5."""

    def alarms(self, loss: float) -> bool:
        return loss > 5


def test_alarms_near_one_another_are_one_event_and_spikes_leave_the_curve_alone():
    curve = np.full(1000, 4.5)
    curve[[100, 101, 100 + EVENT, 700]] = 6
    tally = watch(Above, "curve", curve, 3)
    assert (tally.steps, tally.events) == (1000, 2)
    by_name = {spike.name: tally.recall(spike) for spike in SPIKES}
    assert by_name["one step of +1"] == Share(3, 3) == by_name["ramp to +1 over 200"]
    assert by_name["lasting +0.2"].found == sum(
        place <= 700 < place + 200 for place in places("curve", curve, SPIKES[4], 3)
    )
    assert tally.delay(SPIKES[5]) == 0


def test_places_follow_from_the_name_and_fit_into_the_curve():
    curve = made_curve(0, 1000)
    for spike in SPIKES:
        found = places("one", curve, spike, 50)
        assert found == places("one", curve, spike, 50) != places("two", curve, spike, 50)
        assert min(found) >= FIRST and max(found) + spike.horizon <= len(curve)
    assert places("short", curve[:300], SPIKES[3], 5) == []


def test_wilson_interval():
    assert Share(8, 10).interval == pytest.approx((0.4901, 0.9433), abs=1e-3)
    assert Share(0, 10).interval[0] == 0 and Share(10, 10).interval[1] == 1
    assert Tally().as_json()["recall"][SPIKES[0].name]["of"] == 0


def test_a_folder_without_curves_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="no loss curves"):
        read_curves(tmp_path)
    (tmp_path / "a.csv").write_text("step,value\n0,1\n")
    with pytest.raises(ConfigError, match="not a loss curve"):
        read_curves(tmp_path)
    for rows in (b"0,abc\n", b"0,1\n1\n", b"0,\xff\n"):
        (tmp_path / "a.csv").write_bytes(b"step,loss\n" + rows)
        with pytest.raises(ConfigError, match=r"a\.csv is not a loss curve"):
            read_curves(tmp_path)


def test_the_command_prints_every_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("headwater.train.guard.bench.MADE_CURVES", 0)
    rows = "".join(f"{step},{loss}\n" for step, loss in enumerate(made_curve(1, 600)))
    (tmp_path / "run.csv").write_text("step,loss\n" + rows)
    command = ["guard-bench", "--curves", str(tmp_path), "--spikes", "1"]
    shown = CliRunner().invoke(train, command, catch_exceptions=False).stdout
    assert "divergence" in shown and "OLMo" in shown and "600 clean steps" in shown
    found = json.loads(CliRunner().invoke(train, [*command, "--json"], catch_exceptions=False).stdout)
    assert found["all recorded"]["divergence (rolls back)"]["steps"] == 600


@pytest.mark.slow
@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded curves in {RECORDED}")
def test_the_targets_are_met_on_the_recorded_curves(monkeypatch: pytest.MonkeyPatch):
    """At most 0.5 false alarms in 10,000 clean steps; recall of 0.9 of each spike by the detector that is for it."""
    from headwater.train.guard import bench

    ours = {name: bench.DETECTORS[name] for name in ("divergence (rolls back)", "outlier (skips one step)")}
    monkeypatch.setattr(bench, "DETECTORS", ours)
    monkeypatch.setattr(bench, "MADE_CURVES", 0)
    rows = measure(read_curves(RECORDED), 20)["all recorded"]
    slow, one = rows["divergence (rolls back)"], rows["outlier (skips one step)"]
    assert slow.false_alarms().rate * 1e4 <= 0.5
    assert all(slow.recall(spike).rate >= 0.9 for spike in SPIKES if spike.shape != "once")
    assert one.recall(SPIKES[5]).rate >= 0.9 and one.false_alarms().rate * 1e4 <= 20
