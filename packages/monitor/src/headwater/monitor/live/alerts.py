"""Which alerts of the rules would fire for a run: asked of Prometheus, or worked out from the run's own log."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Literal
from urllib.error import HTTPError

import numpy as np

from headwater.core.metrics import TABLE, parse_series
from headwater.core.page import format as fmt

from .. import rules
from ..up import fetch
from .log import MetricLog
from .promql import NotSupportedError, Query, Series
from .watch import WatchedRun, duration

Standing = Literal["firing", "pending", "silent", "unknown"]
ORDER: tuple[Standing, ...] = ("firing", "pending", "unknown", "silent")
SEVERITIES = ("critical", "warning", "info")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Found:
    """How an alert stands.

    Attributes:
        name: Of the alert.
        severity: As the rules say.
        standing: `firing`; `pending`: its expression holds, but not yet for long enough; `silent`; `unknown`: there is
            nothing here to tell by.
        words: Its summary when it fires, else why not or what it waits for.
    """

    name: str
    severity: str
    standing: Standing
    words: str

    @property
    def rank(self) -> tuple[int, int]:
        """Where it comes in a list: what fires before what does not, and the severe first."""
        return ORDER.index(self.standing), SEVERITIES.index(self.severity)


def from_log(run: WatchedRun) -> list[Found]:
    """Every alert of the rules for a run, as of now, or as of its end.

    Hold the run's lock.
    """
    state = run.state()
    if state.heard is None:
        return []
    ended = not state.is_live
    until = state.heard if state.phase == "silent" or ended else float("inf")
    now = state.heard if ended else run.now()
    query = Query(
        _finder(run.log, {"instance": run.name, "job": "headwater"}),
        {one.record: one.expr for one in rules.RECORDINGS}, now=now, until=until,
    )  # fmt: skip
    return sorted((_judge(alert, query) for alert in rules.ALERTS), key=lambda one: one.rank)


def _judge(alert: rules.Alert, query: Query) -> Found:
    wait = seconds(alert.wait)
    query.found = False
    try:
        vector = query(alert.expr, wait)
    except NotSupportedError as error:
        return Found(alert.name, alert.severity, "unknown", f"only Prometheus can tell: {error}")
    standing: Standing = "silent" if query.found else "unknown"
    words = "" if query.found else "the log of the training has nothing to tell it by; Prometheus may"
    for labels, rows in vector.items():
        if not rows.there[0]:
            continue
        summary = filled(alert.summary, dict(labels), float(rows.values[0]))
        if rows.there.all():
            return Found(alert.name, alert.severity, "firing", summary)
        standing, words = "pending", f"{summary}; fires when that holds for {duration(wait)}"
    return Found(alert.name, alert.severity, standing, words)


def from_prometheus(address: str, names: Sequence[str]) -> dict[str, list[Found]]:
    """What a Prometheus says of the alerts of the rules: run, by its name as `instance` → alerts.

    Args:
        address: For example `http://127.0.0.1:9090`.
        names: Of the runs.

    Raises:
        ConnectionError: It does not answer, or not as Prometheus does, or has not these rules.
    """
    try:
        groups = fetch(f"{address.rstrip('/')}/api/v1/rules?type=alert")["data"]["groups"]
    except (OSError, HTTPException, HTTPError, ValueError, KeyError, TypeError) as error:
        raise ConnectionError(f"Prometheus at {address} does not answer: {error}") from error
    known = {alert.name: alert for alert in rules.ALERTS}
    there = [rule for group in groups for rule in group.get("rules", []) if rule.get("name") in known]
    if not there:
        raise ConnectionError(f"Prometheus at {address} has none of the rules that `headwater monitor rules` writes")
    found: dict[str, dict[str, Found]] = {name: {} for name in names}
    for rule in there:
        for name in names:
            alert = known[rule["name"]]
            mine = [one for one in rule.get("alerts", []) if one.get("labels", {}).get("instance") == name]
            # Of GPUs and the like, which belong to no run in particular.
            mine += [one for one in rule.get("alerts", []) if "instance" not in one.get("labels", {})]
            standing: Standing = "silent"
            words = ""
            for one in sorted(mine, key=lambda one: one.get("state") != "firing")[:1]:
                standing = "firing" if one.get("state") == "firing" else "pending"
                words = str(one.get("annotations", {}).get("summary", ""))
            found[name][alert.name] = Found(alert.name, alert.severity, standing, words)
    return {name: sorted(mine.values(), key=lambda one: one.rank) for name, mine in found.items()}


def _finder(log: MetricLog, labels: Mapping[str, str]) -> Callable[[str], Sequence[Series]]:
    """The series of a log by metric, with the sum and count of what is a histogram for Prometheus."""

    def find(name: str) -> list[Series]:
        if name in TABLE:
            mine = [one for one in log.names if one == name or one.startswith(name + "{")]
            return [Series({**labels, **parse_series(one)[1]}, *log.timed(one)) for one in mine]
        for part in ("sum", "count"):
            metric = TABLE.get(name.removesuffix(f"_{part}"))
            if name.endswith(f"_{part}") and metric is not None and metric.kind == "histogram":
                times, values = log.timed(metric.name)
                return [Series(labels, times, np.cumsum(values if part == "sum" else np.ones_like(values)))]
        return []

    return find


def seconds(wait: str) -> float:
    """A duration of the rules, `15m`, in seconds."""
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", wait))


def filled(summary: str, labels: Mapping[str, str], value: float) -> str:
    """A summary with Prometheus's templates filled."""
    shown: dict[str, Callable[[float], str]] = {
        "": lambda v: f"{v:g}", "humanize": fmt.short, "humanizePercentage": fmt.percent, "humanizeDuration": duration,
    }  # fmt: skip

    def fill(match: re.Match[str]) -> str:
        if match["label"]:
            return labels.get(match["label"], "")
        return shown.get(match["how"] or "", fmt.general)(value)

    return re.sub(r"\{\{\s*(?:\$labels\.(?P<label>\w+)|\$value(?:\s*\|\s*(?P<how>\w+))?)\s*\}\}", fill, summary)
