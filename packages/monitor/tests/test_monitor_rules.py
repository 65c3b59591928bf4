"""Alert rules: promtool accepts them, each fires when it should and not when it should not, and has a runbook page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from headwater.core.metrics import TABLE
from headwater.monitor.cli import monitor
from headwater.monitor.rules import ALERTS, RECORDINGS, as_yaml

RUNBOOK = Path(__file__).resolve().parents[3] / "docs" / "runbook.md"
FOREIGN = {"DCGM_FI_DEV_GPU_UTIL"}
LABELS = '{instance="pod-0", job="headwater"}'
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool (of Prometheus)")


def train(name: str, values: str, labels: str = LABELS) -> dict[str, str]:
    return {"series": f"headwater_train_{name}{labels}", "values": values}


def score(better: str, values: str, name: str = "score") -> dict[str, str]:
    labels = f'{{instance="pod-0", job="headwater", task="some", metric="acc", better="{better}"}}'
    return {"series": f"headwater_eval_{name}{labels}", "values": values}


def error(better: str, values: str) -> dict[str, str]:
    return score(better, values, "score_stderr")


def data(name: str, values: str) -> dict[str, str]:
    return {"series": f"headwater_data_{name}{LABELS}", "values": values}


LOWEST = LABELS.replace("}", ', of="lowest"}')
GOING = [train("step", "0+1x600"), train("steps_planned", "1000x600")]
BEGUN = [train("step", "0x90"), train("steps_planned", "1000x90")]
STEPS = [train("step_seconds_sum", "0+30x600"), train("step_seconds_count", "0+60x600")]
# Alert → (series, minute) for which it fires, and for which it does not. A value a minute.
CASES: dict[str, list[tuple[bool, list[dict[str, str]], int]]] = {
    "HeadwaterNonFinite": [
        (True, [train("nonfinite_steps_total", "0x20 1x20")], 22),
        (False, [train("nonfinite_steps_total", "0x20 1x40")], 50),
        (False, [train("nonfinite_steps_total", "7x60")], 30),
        (False, [train("nonfinite_steps_total", "7x20 _ _ 5x20")], 30),  # it went on from an older checkpoint
    ],
    "HeadwaterSpike": [
        (True, [train("spikes_total", "0x20 1x20")], 22), (False, [train("spikes_total", "2x60")], 30),
    ],
    "HeadwaterRollback": [
        (True, [train("rollbacks_total", "0x20 1x20")], 22), (False, [train("rollbacks_total", "1x60")], 30),
    ],
    "HeadwaterSlowDivergence": [
        (True, [train("loss", "3-0.002x200 2.6+0.004x200")], 320),
        (False, [train("loss", "3-0.002x400")], 320),
        (False, [train("loss", "3-0.002x200 2.6+0.0001x200")], 320),
    ],
    "HeadwaterGradientExplosion": [
        (True, [train("grad_norm", "1x60 15x3")], 61),
        (False, [train("grad_norm", "1x60 5x3")], 61),
    ],
    "HeadwaterClipping": [
        (True, [*STEPS, train("clipped_steps_total", "0+40x600")], 90),
        (False, [*STEPS, train("clipped_steps_total", "0+20x600")], 90),
        (False, [*STEPS, train("clipped_steps_total", "0+40x40 1600x100")], 90),
    ],
    "HeadwaterStalled": [
        (True, [*GOING, train("step_seconds_sum", "0+30x30 900x300"), train("step_seconds_count", "0+60x30 1800x300"),
                train("step_timestamp_seconds", "0+60x30 1800x300")], 200),  # and it does not end by itself
        (True, [*BEGUN, train("step_timestamp_seconds", "0x90")], 40),
        (False, [*BEGUN, train("step_timestamp_seconds", "0x90")], 20),
        (True, [*GOING, *STEPS, train("step_timestamp_seconds", "0+60x30 1800x60")], 45),
        (False, [*GOING, *STEPS, train("step_timestamp_seconds", "0+60x100")], 45),
        (False, [train("step", "1000x100"), train("steps_planned", "1000x100"), *STEPS,
                 train("step_timestamp_seconds", "0+60x30 1800x60")], 45),  # it is done
        (False, [*GOING, train("step_seconds_sum", "0+60x60"), train("step_seconds_count", "0+0.05x60"),
                 train("step_timestamp_seconds", "0+60x30 1800x60")], 45),  # steps of 20 minutes
    ],
    "HeadwaterStall": [
        (True, [train("stalls_total", "0x20 1x20")], 22), (False, [train("stalls_total", "1x60")], 30),
    ],
    "HeadwaterGone": [
        (True, [train("step", "0+1x30"), train("steps_planned", "1000x30"), train("ended", "0x30")], 40),
        (True, [train("step", "0+1x30"), train("steps_planned", "1000x30"), train("ended", "0x30")], 400),
        (False, [train("step", "0+1x30"), train("steps_planned", "1000x30"), train("ended", "0x29 1")], 40),
        (False, [*GOING, train("ended", "0x600")], 40),
        (False, [train("step", "0+1x30"), train("steps_planned", "1000x30 _ _ 1000x30"), train("ended", "0x60")], 40),
    ],
    "HeadwaterHalted": [
        (True, [train("halted", "0x20 1")], 40),  # its exporter is gone
        (False, [train("halted", "0x60")], 40),
        (False, [train("halted", "0x20 1 _ _ 0x60")], 40),  # it is back
    ],
    "HeadwaterRestarting": [
        (True, [train("restarts_total", "0x20 1x20 2x20 3x20 4x20")], 85),
        (False, [train("restarts_total", "0x20 1x90")], 85),
        (False, [train("restarts_total", "5x90")], 85),
    ],
    "HeadwaterThroughputDrop": [
        (True, [train("tokens_per_second", "100x120 50x60")], 145),
        (False, [train("tokens_per_second", "100x120 90x60")], 145),
        (False, [train("tokens_per_second", "100x120 50x4 100x60")], 145),
    ],
    "HeadwaterLowGpuUtilisation": [
        (True, [{"series": 'DCGM_FI_DEV_GPU_UTIL{Hostname="n1", gpu="0"}', "values": "20x90"}], 60),
        (False, [{"series": 'DCGM_FI_DEV_GPU_UTIL{Hostname="n1", gpu="0"}', "values": "95x90"}], 60),
        (True, [*GOING, train("gpu_utilization_ratio", "0.3x90", LOWEST)], 60),
        (False, [*GOING, train("gpu_utilization_ratio", "0.9x90", LOWEST)], 60),
        (False, [*GOING, train("gpu_utilization_ratio", "0.3x90", LOWEST.replace("lowest", "mean"))], 60),
        (False, [train("step", "1000x90"), train("steps_planned", "1000x90"),
                 train("gpu_utilization_ratio", "0x90", LOWEST)], 60),  # it is done
    ],
    "HeadwaterStraggler": [
        (True, [train("slowest_rank_ratio", "1.02x20 1.5x40")], 40),
        (False, [train("slowest_rank_ratio", "1.1x60")], 40),
        (False, [train("slowest_rank_ratio", "1.02x20 1.5x3 1.02x40")], 40),
    ],
    "HeadwaterDeadExpert": [
        (True, [train("dead_experts", "0x20 3x40")], 45),
        (False, [train("dead_experts", "0x60")], 45),
        (False, [train("dead_experts", "0x20 3x15 0x40")], 45),  # balancing woke them
    ],
    "HeadwaterMemory": [
        (True, [train("host_memory_bytes", "95x30"), train("memory_limit_bytes", "100x30")], 20),
        (True, [train("peak_memory_bytes", "79x30"), train("device_memory_limit_bytes", "80x30")], 20),
        (True, [train("peak_memory_bytes", "60x9 79 60x20"), train("device_memory_limit_bytes", "80x30")], 18),
        (False, [train("peak_memory_bytes", "60x9 79 60x40"), train("device_memory_limit_bytes", "80x50")], 40),
        (False, [train("host_memory_bytes", "80x30"), train("memory_limit_bytes", "100x30"),
                 train("peak_memory_bytes", "70x30"), train("device_memory_limit_bytes", "80x30")], 20),
    ],
    "HeadwaterDataStuck": [
        (True, [data("progress_timestamp_seconds", "0+60x20 1200x60")], 60),
        (False, [data("progress_timestamp_seconds", "0+60x80")], 60),
    ],
    "HeadwaterEvalRegression": [
        (True, [score("higher", "0.40x60 0.34x30"), error("higher", "0.01x90")], 65),
        (True, [score("lower", "20x60 30x30"), error("lower", "1x90")], 65),
        (False, [score("higher", "0.40x60 0.37x30"), error("higher", "0.01x90")], 65),
        (False, [score("lower", "30x60 20x30"), error("lower", "1x90")], 65),
        (False, [score("unknown", "30x60 2x30"), error("unknown", "1x90")], 65),
        (False, [score("higher", "0.02x60 0x30"), error("higher", "0x90")], 65),  # no error, nothing to measure by
    ],
    "HeadwaterCheckpointOld": [
        (True, [*GOING, train("checkpoint_timestamp_seconds", "0x200")], 130),
        (False, [*GOING, train("checkpoint_timestamp_seconds", "0x60 3600x200")], 130),
        (False, [train("step", "1000x200"), train("steps_planned", "1000x200"),
                 train("checkpoint_timestamp_seconds", "0x200")], 130),
    ],
}  # fmt: skip


def test_every_alert_has_cases_of_both_kinds() -> None:
    assert {alert.name for alert in ALERTS} == set(CASES)
    assert all({fires for fires, *_ in cases} == {True, False} for cases in CASES.values())


@needs_promtool
def test_promtool_accepts_the_file_that_the_command_writes(tmp_path: Path) -> None:
    file = tmp_path / "headwater.rules.yml"
    done = CliRunner().invoke(monitor, ["rules", "--output", str(file), "--runbook", "https://wiki/runbook"])
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(monitor, ["rules"]).output == as_yaml()
    checked = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(ALERTS) + len(RECORDINGS)} rules found" in checked.stdout
    assert "https://wiki/runbook#headwaterspike" in file.read_text()


@needs_promtool
def test_alerts_fire_when_they_should_and_not_otherwise(tmp_path: Path) -> None:
    recordings, alerts = yaml.safe_load(as_yaml())["groups"]
    files = []
    for name, cases in CASES.items():
        # Each alert in a file of its own, with the recordings: a case looks at one, and need not evaluate all.
        (alert,) = (rule for rule in alerts["rules"] if rule["alert"] == name)
        (tmp_path / f"{name}.rules.yml").write_text(
            yaml.safe_dump({"groups": [recordings, {"name": name, "rules": [alert]}]})
        )
        tests = [
            {"interval": "1m", "input_series": series, "name": f"{name} {number} {'fires' if fires else 'is silent'}",
             "promql_expr_test": [
                 {"expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)',
                  "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": int(fires)}]},
             ]}
            for number, (fires, series, minute) in enumerate(cases)
        ]  # fmt: skip
        files.append(f"{name}.yml")
        (tmp_path / files[-1]).write_text(
            yaml.safe_dump({"rule_files": [f"{name}.rules.yml"], "evaluation_interval": "30s", "tests": tests})
        )
    done = subprocess.run(
        ["promtool", "test", "rules", *files], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_name_only_metrics_of_the_table() -> None:
    known = {*TABLE, *(rule.record for rule in RECORDINGS), *FOREIGN}
    known |= {f"{metric.name}_{part}" for metric in TABLE.values() if metric.buckets for part in ("sum", "count")}
    for rule in (*ALERTS, *RECORDINGS):
        names = set(re.findall(r"\b(headwater[:_][a-z_:0-9]+|DCGM_\w+)", rule.expr))
        assert names and names <= known, rule


@pytest.mark.skipif(not RUNBOOK.parent.is_dir(), reason="the package is tested outside the repository")
def test_every_alert_has_a_runbook_page_and_every_page_an_alert() -> None:
    titles = re.findall(r"^## (Headwater\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert titles == [alert.name for alert in ALERTS]
