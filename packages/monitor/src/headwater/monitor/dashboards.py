"""Grafana dashboards as code, from the one table of metrics, built with grafana-foundation-sdk.

A dashboard is rows of panels, a panel is queries. Each dashboard asks which Prometheus and which runs (`instance`); the
lines of several runs lie over one another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from headwater.core import metrics as m
from headwater.core.errors import ConfigError
from headwater.monitor import rules

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard as Built

RUN = 'instance=~"$instance"'
"""Label matcher for the chosen runs."""
_ANY = '{__name__=~"headwater_(train_step|eval_step|data_done)"}'
_WIDTH = 24  # Grafana's grid


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: PromQL.
        legend: Of each series, with Grafana's templates.
    """

    expr: str
    legend: str = "{{instance}}"


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: What is shown.
        queries: What is asked of Prometheus.
        unit: Grafana's name of the unit.
        help: For the panel's tooltip: what to look for.
        kind: A line over time, or the latest number.
        width: In twenty-fourths of the page.
        stacked: Whether the series add up to a whole.
        logarithmic: Whether the axis is.
    """

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    help: str = ""
    kind: Literal["time", "stat"] = "time"
    width: int = 8
    stacked: bool = False
    logarithmic: bool = False


@dataclass(frozen=True)
class Board:
    """One dashboard.

    Attributes:
        uid: Its identity in Grafana, and the name of its file.
        title: In Grafana's list.
        rows: Title of a row → its panels.
    """

    uid: str
    title: str
    rows: dict[str, tuple[Panel, ...]] = field(default_factory=dict[str, tuple[Panel, ...]])

    @property
    def panels(self) -> Iterator[Panel]:
        """All of them."""
        for row in self.rows.values():
            yield from row


def _of(metric: m.Metric | str) -> str:
    return f"{metric if isinstance(metric, str) else metric.name}{{{RUN}}}"


def _time(title: str, *metrics: m.Metric, unit: str = "short", **more: Any) -> Panel:
    """A line for each metric of one run, with the metrics' help."""
    several = len(metrics) > 1
    queries = tuple(
        Query(_of(each), f"{{{{instance}}}} {_words(each)}" if several else "{{instance}}") for each in metrics
    )
    return Panel(title, queries, unit, more.pop("help", " ".join(each.help for each in metrics)), **more)


def _increase(title: str, metric: m.Metric, **more: Any) -> Panel:
    return Panel(title, (Query(f"increase({_of(metric)}[$__rate_interval])"),), help=metric.help, **more)


def _number(title: str, expr: str, unit: str = "short", help: str = "", width: int = 4) -> Panel:
    return Panel(title, (Query(expr),), unit, help, kind="stat", width=width)


def _words(metric: m.Metric) -> str:
    return metric.name.removeprefix("headwater_train_").replace("_", " ")


_LEFT = f"({_of(m.TRAIN_STEPS_PLANNED)} - {_of(m.TRAIN_STEP)})"
_STEP = m.TRAIN_STEP_SECONDS.name

OVERVIEW = Board("headwater-run", "Headwater: run", {
    "Now": (
        _number("Step", _of(m.TRAIN_STEP), help=m.TRAIN_STEP.help),
        _number("Done", f"{_of(m.TRAIN_STEP)} / {_of(m.TRAIN_STEPS_PLANNED)}", "percentunit", "Share of the steps."),
        _number("Left", f"{_LEFT} * {_of(rules.STEP_1H)}", "s", "At the mean pace of the last hour."),
        _number("Loss", _of(m.TRAIN_LOSS), help=m.TRAIN_LOSS.help),
        _number("Tokens a second", _of(m.TRAIN_THROUGHPUT), help=m.TRAIN_THROUGHPUT.help),
        _number("Checkpoint's age", f"time() - {_of(m.TRAIN_CHECKPOINT_TIMESTAMP)}", "s", "What a crash would cost."),
    ),
    "Learning": (
        Panel("Loss", (
            Query(_of(m.TRAIN_LOSS)), Query(_of(m.TRAIN_LOSS_WINDOW_MAX), "{{instance}} highest of a minute"),
            Query(_of(rules.LOSS_30M), "{{instance}} mean of 30 minutes"),
        ), help=m.TRAIN_LOSS.help, width=12),
        _time("Held-out loss", m.TRAIN_VALIDATION_LOSS, width=6),
        _time("Held-out bits per byte", m.TRAIN_VALIDATION_BPB, width=6),
        _time("Gradient norm", m.TRAIN_GRAD_NORM, logarithmic=True),
        _time("Learning rate", m.TRAIN_LEARNING_RATE, unit="sci"),
        _time("Tokens", m.TRAIN_TOKENS),
    ),
    "Sources": (
        Panel("Loss of each source", (Query(_of(m.TRAIN_SOURCE_LOSS), "{{instance}} {{source}}"),),
              help=m.TRAIN_SOURCE_LOSS.help, width=12),
        Panel("Tokens of each source", (Query(_of(m.TRAIN_SOURCE_TOKENS), "{{instance}} {{source}}"),),
              help=m.TRAIN_SOURCE_TOKENS.help, width=12),
    ),
    "Pace": (
        _time("Tokens a second", m.TRAIN_THROUGHPUT, width=12),
        _time("Checkpoint duration", m.TRAIN_CHECKPOINT_SECONDS, unit="s", width=12),
    ),
})  # fmt: skip

GUARD = Board("headwater-guard", "Headwater: health and guard", {
    "Found": (
        _number("Spikes", _of(m.TRAIN_SPIKES), help=m.TRAIN_SPIKES.help),
        _number("Rollbacks", _of(m.TRAIN_ROLLBACKS), help=m.TRAIN_ROLLBACKS.help),
        _number("Skipped steps", _of(m.TRAIN_SKIPPED_STEPS), help=m.TRAIN_SKIPPED_STEPS.help),
        _number("Skipped samples", _of(m.TRAIN_SKIPPED_SAMPLES), help=m.TRAIN_SKIPPED_SAMPLES.help),
        _number("Steps not finite", _of(m.TRAIN_NONFINITE), help=m.TRAIN_NONFINITE.help),
        _number("Restarts", _of(m.TRAIN_RESTARTS), help=m.TRAIN_RESTARTS.help),
        _number("Ended", _of(m.TRAIN_ENDED), help=m.TRAIN_ENDED.help),
    ),
    "When": (
        Panel("Loss against its lowest of six hours", (
            Query(_of(rules.LOSS_30M), "{{instance}} mean of 30 minutes"),
            Query(f"min_over_time({_of(rules.LOSS_30M)}[6h])", "{{instance}} lowest"),
        ), help="5% above for 15 minutes: HeadwaterSlowDivergence.", width=12),
        Panel("Gradient norm against its median of the hour", (
            Query(_of(m.TRAIN_GRAD_NORM)),
            Query(f"quantile_over_time(0.5, {_of(m.TRAIN_GRAD_NORM)}[1h])", "{{instance}} median"),
        ), help="Ten times the median: HeadwaterGradientExplosion.", width=12, logarithmic=True),
        Panel("Update-to-weight ratio", (Query(_of(m.TRAIN_UPDATE_RATIO), "{{instance}} {{group}}"),),
              help="About 0.001 is usual. Well above: the learning rate is too high.", logarithmic=True),
        Panel("Clipped steps", (Query(_of(rules.CLIPPED_30M)),), "percentunit", "More than half: HeadwaterClipping."),
        _increase("Spikes", m.TRAIN_SPIKES),
        _increase("Skipped steps", m.TRAIN_SKIPPED_STEPS),
        _increase("Stalls", m.TRAIN_STALLS),
        Panel("Seconds since the last step", (Query(f"time() - {_of(m.TRAIN_STEP_TIMESTAMP)}"),), "s",
              "Five minutes, and twenty steps: HeadwaterStalled."),
        _increase("Checkpoints", m.TRAIN_CHECKPOINTS),
    ),
})  # fmt: skip

PERFORMANCE = Board("headwater-performance", "Headwater: performance", {
    "Steps": (
        Panel("Step time", tuple(
            Query(f"histogram_quantile({q}, sum by (instance, le) (rate({_of(_STEP + '_bucket')}[$__rate_interval])))",
                  f"{{{{instance}}}} {q * 100:g}%")
            for q in (0.5, 0.95, 0.99)
        ), "s", "Quantiles of the wall time of a step, within the buckets of the table.", width=12),
        Panel("Where the time goes", (Query(_of(rules.PHASES_10M), "{{instance}} {{phase}}"),), "percentunit",
              m.TRAIN_PHASE_SECONDS.help, width=12, stacked=True),
        Panel("Tokens a second", (
            Query(_of(m.TRAIN_THROUGHPUT)), Query(_of(rules.SPEED_10M), "{{instance}} mean of 10 minutes"),
        ), help="0.7 of the median of six hours: HeadwaterThroughputDrop.", width=12),
        _time("Samples", m.TRAIN_SAMPLES, width=12),
    ),
    "Devices": (
        _time("Model FLOPs utilisation", m.TRAIN_MFU, unit="percentunit"),
        _time("GPU memory", m.TRAIN_PEAK_MEMORY, m.TRAIN_DEVICE_MEMORY_LIMIT, unit="bytes"),
        _time("Host memory", m.TRAIN_HOST_MEMORY, m.TRAIN_MEMORY_LIMIT, unit="bytes"),
        Panel("GPU utilisation", (Query(_of(m.TRAIN_GPU_UTILIZATION), "{{instance}} {{of}}"),), "percentunit",
              f"{m.TRAIN_GPU_UTILIZATION.help} Below a half: HeadwaterLowGpuUtilisation.", width=12),
        Panel("Power", (Query(f"rate({_of(m.TRAIN_ENERGY)}[$__rate_interval])", "{{instance}} {{device}}"),), "watt",
              m.TRAIN_ENERGY.help, width=12),
    ),
})  # fmt: skip

RANKS = Board("headwater-ranks", "Headwater: parallelism and stragglers", {
    "Ranks": (
        Panel("Slowest rank over the median", (Query(_of(m.TRAIN_SLOWEST_RANK)),),
              help=f"{m.TRAIN_SLOWEST_RANK.help} Above 1.2: HeadwaterStraggler.", width=12),
        Panel("Own time of a step", (Query(_of(m.TRAIN_RANK_STEP_SECONDS), "{{instance}} rank {{rank}}"),), "s",
              m.TRAIN_RANK_STEP_SECONDS.help, width=12),
        Panel("Memory", (Query(_of(m.TRAIN_RANK_MEMORY), "{{instance}} rank {{rank}}"),), "bytes",
              m.TRAIN_RANK_MEMORY.help),
        Panel("Since a sign of life",
              (Query(f"time() - {_of(m.TRAIN_RANK_HEARTBEAT)}", "{{instance}} rank {{rank}}"),), "s",
              m.TRAIN_RANK_HEARTBEAT.help),
        Panel("Loss, mean and highest of a rank", (
            Query(_of(m.TRAIN_LOSS)), Query(_of(m.TRAIN_LOSS_RANK_MAX), "{{instance}} highest"),
        ), help=m.TRAIN_LOSS_RANK_MAX.help),
    ),
})  # fmt: skip

EVALUATION = Board("headwater-evaluation", "Headwater: evaluation", {
    "Scores": (
        Panel("Scores", (Query(_of(m.EVAL_SCORE), "{{instance}} {{task}} {{metric}}"),),
              help="Of eval.every, or of `headwater eval watch --metrics-port`, by the time they came.", width=12),
        Panel("Scores against the median of the week, in standard errors", (
            Query(f"({_of(m.EVAL_SCORE)} - quantile_over_time(0.5, {_of(m.EVAL_SCORE)}[7d])) / "
                  f"({_of(m.EVAL_STDERR)} > 0)", "{{instance}} {{task}} {{metric}} ({{better}} is better)"),
        ), help="Single scores see little: `headwater eval gate` compares two models on the same items.", width=12),
        _time("Bits per byte, held out", m.EVAL_BITS_PER_BYTE, width=12),
        _time("Step of the checkpoint", m.EVAL_STEP, width=12),
    ),
})  # fmt: skip

DATA = Board("headwater-data", "Headwater: data jobs", {
    "Progress": (
        Panel("Done", (Query(f"{_of(m.DATA_DONE)} / ({_of(m.DATA_PLANNED)} > 0)", "{{instance}} {{step}}"),),
              "percentunit", "Of each step of `headwater data run --metrics-port`.", width=12),
        Panel("Pace", (Query(f"deriv({_of(m.DATA_DONE)}[5m]) > 0", "{{instance}} {{step}}"),),
              help="Units, rows or bytes a second.", width=12),
        Panel("Since the last progress", (Query(f"time() - {_of(m.DATA_TIMESTAMP)}"),), "s",
              "Half an hour: HeadwaterDataStuck.", width=12),
    ),
    "Funnel": (
        Panel("Documents", (Query(_of(m.DATA_DOCUMENTS), "{{instance}} {{step}} {{way}}"),),
              help=m.DATA_DOCUMENTS.help, width=12),
        Panel("Set aside", (Query(_of(m.DATA_REJECTED), "{{instance}} {{step}}: {{reason}}"),),
              help=m.DATA_REJECTED.help, width=12),
    ),
})  # fmt: skip

BOARDS = (OVERVIEW, GUARD, PERFORMANCE, RANKS, EVALUATION, DATA)


def as_json(board: Board) -> str:
    """The dashboard as Grafana reads it.

    Raises:
        ConfigError: grafana-foundation-sdk is not installed.
    """
    built = _built(board)
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    return JSONEncoder(sort_keys=True, indent=1).encode(built) + "\n"


def _built(board: Board) -> Built:
    try:
        from grafana_foundation_sdk.builders import dashboard as sdk
    except ImportError as error:
        raise ConfigError("dashboards need grafana-foundation-sdk", found=str(error),
                          hint="pip install 'headwater-monitor[grafana]'") from error  # fmt: skip
    from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, GridPos

    made = (
        sdk.Dashboard(board.title).uid(board.uid).tags(["headwater"]).refresh("30s").time("now-3h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR).readonly()
        .link(sdk.DashboardLink("Headwater").tags(["headwater"]).as_dropdown(False).keep_time(True).include_vars(True))
        .with_variable(sdk.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            sdk.QueryVariable("instance").label("Run").datasource(_source())
            .query(f"label_values({_ANY}, instance)").refresh(_on_time_range()).multi(True)
            .include_all(True)
        )
    )  # fmt: skip
    y = 0
    for title, panels in board.rows.items():
        made = made.with_row(sdk.Row(title).grid_pos(GridPos(h=1, w=_WIDTH, x=0, y=y)))
        y += 1
        x = height = 0
        for panel in panels:
            if x + panel.width > _WIDTH:
                x, y = 0, y + height
            height = 4 if panel.kind == "stat" else 8
            made = made.with_panel(_panel(panel).grid_pos(GridPos(h=height, w=panel.width, x=x, y=y)))
            x += panel.width
        y += height
    return made.build()


def _panel(panel: Panel) -> Any:
    from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
    from grafana_foundation_sdk.models import common as kinds

    made: Any
    if panel.kind == "stat":
        made = stat.Panel().graph_mode(kinds.BigValueGraphMode.NONE)
        made = made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    else:
        made = timeseries.Panel().line_width(1).show_points(kinds.VisibilityMode.NEVER)
        made = made.legend(
            common.VizLegendOptions().display_mode(kinds.LegendDisplayMode.LIST)
            .placement(kinds.LegendPlacement.BOTTOM).show_legend(True)
        )  # fmt: skip
        if panel.stacked:
            made = made.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL)).fill_opacity(30).max(1)
        if panel.logarithmic:
            scale = common.ScaleDistributionConfig().type(kinds.ScaleDistribution.LOG).log(10)
            made = made.scale_distribution(scale)
    made = made.title(panel.title).description(panel.help).unit(panel.unit).datasource(_source())
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + number))
        made = made.with_target(target.instant() if panel.kind == "stat" else target.range())
    return made


def _source() -> Any:
    from grafana_foundation_sdk.models.common import DataSourceRef

    return DataSourceRef(type_val="prometheus", uid="${datasource}")


def _on_time_range() -> Any:
    from grafana_foundation_sdk.models.dashboard import VariableRefresh

    return VariableRefresh.ON_TIME_RANGE_CHANGED
