"""Prometheus recording and alert rules for training runs and evaluations, as the YAML file that Prometheus reads.

Each alert says what was seen, and its runbook page what to do. Thresholds compare a run with its own past where that is
possible, so that they hold for a laptop and for a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import yaml

from headwater.core import metrics as m

RUNBOOK = "docs/runbook.md"
"""Where the runbook is, unless told otherwise: in this repository."""

LOSS_30M = "headwater:train_loss:avg_30m"
SPEED_10M = "headwater:train_tokens_per_second:avg_10m"
STEP_1H = "headwater:train_step_seconds:mean_1h"
CLIPPED_30M = "headwater:train_clipped_steps:share_30m"
PHASES_10M = "headwater:train_phase:share_10m"


@dataclass(frozen=True)
class Recording:
    """A series that Prometheus computes and keeps.

    Attributes:
        record: Its name.
        expr: PromQL.
    """

    record: str
    expr: str


@dataclass(frozen=True)
class Alert:
    """An alert rule.

    Attributes:
        name: In CamelCase, as Prometheus's own.
        expr: PromQL; what it returns is alerted on.
        severity: `critical`: training stands or is being lost; `warning`: look today; `info`: for the record.
        summary: One line, with Prometheus's templates.
        wait: How long the expression has to hold, for example `10m`; "0m" fires at once.
    """

    name: str
    expr: str
    severity: Literal["critical", "warning", "info"]
    summary: str
    wait: str = "0m"

    @property
    def anchor(self) -> str:
        """Of its section in the runbook."""
        return self.name.lower()


_STEPS = f"{m.TRAIN_STEP_SECONDS.name}_count"
_RUNNING = f"{m.TRAIN_STEP.name} < {m.TRAIN_STEPS_PLANNED.name}"


def _grew(counter: m.Metric) -> str:
    """By how much a running total is above its lowest of ten minutes; one that a restart set back did not grow."""
    return f"{counter.name} - min_over_time({counter.name}[10m]) > 0"


RECORDINGS = (
    Recording(LOSS_30M, f"avg_over_time({m.TRAIN_LOSS.name}[30m])"),
    Recording(SPEED_10M, f"avg_over_time({m.TRAIN_THROUGHPUT.name}[10m])"),
    # Where there was no step, nothing is recorded: NaN would make every comparison false.
    Recording(STEP_1H, f"rate({m.TRAIN_STEP_SECONDS.name}_sum[1h]) / (rate({_STEPS}[1h]) > 0)"),
    Recording(CLIPPED_30M, f"rate({m.TRAIN_CLIPPED_STEPS.name}[30m]) / (rate({_STEPS}[30m]) > 0)"),
    Recording(
        PHASES_10M,
        f"rate({m.TRAIN_PHASE_SECONDS.name}[10m]) / ignoring (phase) group_left () "
        f"(sum without (phase) (rate({m.TRAIN_PHASE_SECONDS.name}[10m])) > 0)",
    ),
)

ALERTS = (
    Alert(
        "HeadwaterNonFinite", _grew(m.TRAIN_NONFINITE), "critical",
        "{{ $value | humanize }} steps of {{ $labels.instance }} had a loss or a gradient norm that is not finite",
    ),
    Alert(
        "HeadwaterSpike", _grew(m.TRAIN_SPIKES), "warning",
        "The loss guard found a spike on {{ $labels.instance }}",
    ),
    Alert(
        "HeadwaterRollback", _grew(m.TRAIN_ROLLBACKS), "info",
        "{{ $labels.instance }} went back to a checkpoint and left samples out",
    ),
    Alert(
        "HeadwaterSlowDivergence", f"{LOSS_30M} > 1.05 * min_over_time({LOSS_30M}[6h])", "warning",
        "The loss of {{ $labels.instance }}, {{ $value | humanize }} over half an hour, is 5% above its lowest", "15m",
    ),
    Alert(
        "HeadwaterGradientExplosion",
        f"{m.TRAIN_GRAD_NORM.name} > 10 * quantile_over_time(0.5, {m.TRAIN_GRAD_NORM.name}[1h])", "critical",
        "The gradient norm of {{ $labels.instance }} is {{ $value | humanize }}, ten times its median of the hour",
    ),
    Alert(
        "HeadwaterClipping", f"{CLIPPED_30M} > 0.5", "warning",
        "{{ $value | humanizePercentage }} of the steps of {{ $labels.instance }} are clipped", "30m",
    ),
    Alert(
        "HeadwaterStalled",
        f"((time() - {m.TRAIN_STEP_TIMESTAMP.name} > 300 "
        f"and time() - {m.TRAIN_STEP_TIMESTAMP.name} > 20 * last_over_time({STEP_1H}[1d])) "
        f"or (time() - {m.TRAIN_STEP_TIMESTAMP.name} > 1800 unless last_over_time({STEP_1H}[1d]))) "
        f"and on (instance, job) {_RUNNING}",
        "critical", "{{ $labels.instance }} has done no step for {{ $value | humanizeDuration }}",
    ),
    Alert(
        "HeadwaterStall", _grew(m.TRAIN_STALLS), "critical",
        "{{ $labels.instance }} has done no step for longer than its recipe allows",
    ),
    Alert(
        "HeadwaterGone",
        f"last_over_time({m.TRAIN_STEP.name}[1d]) unless on (instance, job) {m.TRAIN_STEPS_PLANNED.name} "
        f"unless on (instance, job) last_over_time({m.TRAIN_ENDED.name}[1d]) == 1",
        "critical", "{{ $labels.instance }} is gone: it was at step {{ $value }}, and has not said that it ended", "2m",
    ),
    Alert(
        "HeadwaterHalted", f"last_over_time({m.TRAIN_HALTED.name}[1d]) == 1", "critical",
        "The loss guard has halted {{ $labels.instance }}",
    ),
    Alert(
        "HeadwaterRestarting", f"{m.TRAIN_RESTARTS.name} - min_over_time({m.TRAIN_RESTARTS.name}[2h]) >= 3", "warning",
        "{{ $labels.instance }} was restarted {{ $value | humanize }} times in two hours",
    ),
    Alert(
        "HeadwaterThroughputDrop", f"{SPEED_10M} < 0.7 * quantile_over_time(0.5, {SPEED_10M}[6h])", "warning",
        "{{ $labels.instance }} trains on {{ $value | humanize }} tokens a second, less than 0.7 of its median", "10m",
    ),
    Alert(
        "HeadwaterLowGpuUtilisation",
        "avg by (Hostname, gpu) (avg_over_time(DCGM_FI_DEV_GPU_UTIL[15m])) / 100 < 0.5 or "
        f'avg_over_time({m.TRAIN_GPU_UTILIZATION.name}{{of="lowest"}}[15m]) < 0.5 and on (instance, job) {_RUNNING}',
        "warning",
        "A GPU ({{ $labels.Hostname }} {{ $labels.gpu }}{{ $labels.instance }}) is used "
        "{{ $value | humanizePercentage }}", "15m",
    ),
    Alert(
        "HeadwaterStraggler", f"min_over_time({m.TRAIN_SLOWEST_RANK.name}[5m]) > 1.2", "warning",
        "The slowest rank of {{ $labels.instance }} takes {{ $value | humanize }} times as long as the median", "10m",
    ),
    Alert(
        "HeadwaterDeadExpert", f"min_over_time({m.TRAIN_DEAD_EXPERTS.name}[10m]) > 0", "warning",
        "{{ $value | humanize }} experts of {{ $labels.instance }} get no tokens", "10m",
    ),
    Alert(
        "HeadwaterMemory",
        f"{m.TRAIN_HOST_MEMORY.name} / {m.TRAIN_MEMORY_LIMIT.name} > 0.92 or "
        f"max_over_time({m.TRAIN_PEAK_MEMORY.name}[10m]) / {m.TRAIN_DEVICE_MEMORY_LIMIT.name} > 0.97",
        "warning", "{{ $labels.instance }} has {{ $value | humanizePercentage }} of the memory that there is", "5m",
    ),
    Alert(
        "HeadwaterDataStuck", f"time() - {m.DATA_TIMESTAMP.name} > 1800", "warning",
        "The data job of {{ $labels.instance }} has told of no progress for {{ $value | humanizeDuration }}",
    ),
    Alert(
        "HeadwaterEvalRegression",
        f'{m.EVAL_SCORE.name}{{better="higher"}} '
        f"< quantile_over_time(0.9, {m.EVAL_SCORE.name}[7d]) - 4.24 * ({m.EVAL_STDERR.name} > 0) "
        f'or {m.EVAL_SCORE.name}{{better="lower"}} '
        f"> quantile_over_time(0.1, {m.EVAL_SCORE.name}[7d]) + 4.24 * ({m.EVAL_STDERR.name} > 0)",
        "warning",
        "{{ $labels.task }} of {{ $labels.instance }} is {{ $value | humanize }}, far worse than it was this week",
    ),
    Alert(
        "HeadwaterCheckpointOld",
        f"time() - {m.TRAIN_CHECKPOINT_TIMESTAMP.name} > 7200 and on (instance, job) {_RUNNING}",
        "warning", "The latest checkpoint of {{ $labels.instance }} is {{ $value | humanizeDuration }} old",
    ),
)  # fmt: skip


def as_yaml(runbook: str = RUNBOOK) -> str:
    """The rule file.

    Args:
        runbook: Address of the runbook; an alert's section follows after `#`.
    """
    groups = [
        {
            "name": "headwater-train-recordings",
            "rules": [{"record": rule.record, "expr": rule.expr} for rule in RECORDINGS],
        },
        {"name": "headwater-train-alerts", "rules": [_rule(alert, runbook) for alert in ALERTS]},
    ]
    head = "# Generated by `headwater monitor rules`. Change headwater/monitor/rules.py instead.\n"
    return head + yaml.safe_dump({"groups": groups}, sort_keys=False, width=1000, allow_unicode=True)


def _rule(alert: Alert, runbook: str) -> dict[str, Any]:
    return {
        "alert": alert.name, "expr": alert.expr, "for": alert.wait, "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "runbook_url": f"{runbook}#{alert.anchor}"},
    }  # fmt: skip
