"""What a dashboard is made of, and its JSON as Grafana reads it, built with grafana-foundation-sdk."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headwater.core.errors import ConfigError
from headwater.core.storage import atomic_write, storage_errors

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard as Built

PROMETHEUS_UID = "headwater-prometheus"
"""Identity of the data source that we make; dashboards ask it unless told otherwise."""
_WIDTH = 24  # Grafana's grid
_HEIGHTS = {"time": 8, "stat": 4, "bars": 14}


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
        kind: A line over time, the latest number, or bars of many such numbers.
        width: In twenty-fourths of the page.
        stacked: Whether the series add up to a whole.
        logarithmic: Whether the axis is.
        decimals: Digits after the point; none: Grafana decides.
        least: The axis begins here; none: at the lowest value.
        most: The axis ends here; none: at the highest value.
        counts: Whether whole things are counted: the axis begins at 0, has no fractions, and reaches 1 at least.
        limits: Value → colour from it on: of the number, or as a dashed line.
    """

    title: str
    queries: tuple[Query, ...]
    unit: str
    help: str
    kind: Literal["time", "stat", "bars"] = "time"
    width: int = 8
    stacked: bool = False
    logarithmic: bool = False
    decimals: int | None = None
    least: float | None = None
    most: float | None = None
    counts: bool = False
    limits: tuple[tuple[float, Literal["orange", "red"]], ...] = ()


@dataclass(frozen=True)
class Variable:
    """What a dashboard lets its reader choose.

    Attributes:
        name: In queries, after `$`.
        label: For people.
        query: What can be chosen, as Grafana asks Prometheus.
    """

    name: str
    label: str
    query: str


@dataclass(frozen=True)
class Board:
    """One dashboard.

    Attributes:
        uid: Its identity in Grafana, and the name of its file.
        title: In Grafana's list.
        variables: What can be chosen, besides which Prometheus.
        rows: Title of a row → its panels.
    """

    uid: str
    title: str
    variables: tuple[Variable, ...]
    rows: dict[str, tuple[Panel, ...]] = field(default_factory=dict[str, tuple[Panel, ...]])

    @property
    def panels(self) -> Iterator[Panel]:
        """All of them."""
        for row in self.rows.values():
            yield from row


def as_json(board: Board) -> str:
    """The dashboard as Grafana reads it; the same bytes each time.

    Raises:
        ConfigError: grafana-foundation-sdk is not installed.
    """
    built = _built(board)
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    return JSONEncoder(sort_keys=True, indent=1).encode(built) + "\n"


def write_boards(boards: Iterable[Board], folder: Path) -> None:
    """Writes each dashboard to a file named for its `uid`.

    Raises:
        ConfigError: grafana-foundation-sdk is not installed.
        StorageError: The folder cannot be written.
    """
    with storage_errors("create", folder):
        folder.mkdir(parents=True, exist_ok=True)
    for board in boards:
        atomic_write(folder / f"{board.uid}.json", as_json(board))


def _built(board: Board) -> Built:
    try:
        from grafana_foundation_sdk.builders import dashboard as sdk
    except ImportError as error:
        raise ConfigError("dashboards need grafana-foundation-sdk", found=str(error),
                          hint="pip install 'headwater-monitor[grafana]'") from error  # fmt: skip
    from grafana_foundation_sdk.models import dashboard as kinds

    chosen = kinds.VariableOption(text="Headwater", value=PROMETHEUS_UID, selected=True)
    others = sdk.DashboardLink("Headwater").type(kinds.DashboardLinkType.DASHBOARDS).tags(["headwater"])
    others = others.as_dropdown(False).keep_time(True).include_vars(True)
    made = (
        sdk.Dashboard(board.title).uid(board.uid).tags(["headwater"]).refresh("30s").time("now-3h", "now")
        .tooltip(kinds.DashboardCursorSync.CROSSHAIR).readonly()
        .link(others)
        .with_variable(sdk.DatasourceVariable("datasource").label("Prometheus").type("prometheus").current(chosen))
    )  # fmt: skip
    for each in board.variables:
        made = made.with_variable(
            sdk.QueryVariable(each.name).label(each.label).datasource(_source()).query(each.query)
            .refresh(kinds.VariableRefresh.ON_TIME_RANGE_CHANGED).multi(True).include_all(True)
        )  # fmt: skip
    y = 0
    for title, panels in board.rows.items():
        made = made.with_row(sdk.Row(title).grid_pos(kinds.GridPos(h=1, w=_WIDTH, x=0, y=y)))
        y += 1
        x = height = 0
        for panel in panels:
            if x + panel.width > _WIDTH:
                x, y = 0, y + height
            height = _HEIGHTS[panel.kind]
            made = made.with_panel(_panel(panel).grid_pos(kinds.GridPos(h=height, w=panel.width, x=x, y=y)))
            x += panel.width
        y += height
    built = made.build()
    for number, panel in enumerate(built.panels or (), start=1):
        panel.id_val = number
    for variable in (built.templating.list_val if built.templating else None) or ():
        # The library gives every variable what only those of kind "interval" have.
        variable.auto = variable.auto_count = variable.auto_min = None
    links: list[Any] = built.links or []
    for link in links:
        link.placement = None  # above the panels, not in a menu
    return built


def _panel(panel: Panel) -> Any:
    from grafana_foundation_sdk.builders import prometheus

    made = _lines(panel) if panel.kind == "time" else _stat() if panel.kind == "stat" else _bars()
    made = made.title(panel.title).description(panel.help).unit(panel.unit).datasource(_source())
    made = made.thresholds(_thresholds(panel))
    least, decimals = (0.0, 0) if panel.counts else (panel.least, panel.decimals)
    for name, value in (("decimals", decimals), ("min", least), ("max", panel.most)):
        if value is not None:
            made = getattr(made, name)(value)
    for letter, query in zip(string.ascii_uppercase, panel.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter)
        made = made.with_target(target.range() if panel.kind == "time" else target.instant())
    return made


def _stat() -> Any:
    from grafana_foundation_sdk.builders import common, stat
    from grafana_foundation_sdk.models import common as kinds

    made = stat.Panel().graph_mode(kinds.BigValueGraphMode.NONE).color_mode(kinds.BigValueColorMode.VALUE)
    return made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _bars() -> Any:
    from grafana_foundation_sdk.builders import bargauge, common
    from grafana_foundation_sdk.models import common as kinds

    made = bargauge.Panel().orientation(kinds.VizOrientation.HORIZONTAL).display_mode(kinds.BarGaugeDisplayMode.BASIC)
    made = made.name_placement(kinds.BarGaugeNamePlacement.LEFT).value_mode(kinds.BarGaugeValueMode.TEXT)
    return made.show_unfilled(False).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _lines(panel: Panel) -> Any:
    from grafana_foundation_sdk.builders import common, timeseries
    from grafana_foundation_sdk.models import common as kinds

    made = timeseries.Panel().line_width(1).show_points(kinds.VisibilityMode.NEVER)
    made = made.tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI)
                        .sort(kinds.SortOrder.DESCENDING))  # fmt: skip
    made = made.legend(
        common.VizLegendOptions().display_mode(kinds.LegendDisplayMode.LIST)
        .placement(kinds.LegendPlacement.BOTTOM).show_legend(True)
    )  # fmt: skip
    if panel.stacked:
        made = made.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL)).fill_opacity(30)
    if panel.counts:
        made = made.axis_soft_max(1)
    if panel.logarithmic:
        made = made.scale_distribution(common.ScaleDistributionConfig().type(kinds.ScaleDistribution.LOG).log(10))
    if panel.limits:
        made = made.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED)
        )  # fmt: skip
    return made


def _thresholds(panel: Panel) -> Any:
    """Always given: Grafana's own default paints every number above 80 red."""
    from grafana_foundation_sdk.builders import dashboard as sdk
    from grafana_foundation_sdk.models import dashboard as kinds

    base = {"time": "transparent", "bars": "blue"}.get(panel.kind, "green" if panel.limits else "text")
    steps = [kinds.Threshold(color=base, value=None), *(kinds.Threshold(color=c, value=v) for v, c in panel.limits)]
    return sdk.ThresholdsConfig().mode(kinds.ThresholdsMode.ABSOLUTE).steps(steps)


def _source() -> Any:
    from grafana_foundation_sdk.models.common import DataSourceRef

    return DataSourceRef(type_val="prometheus", uid="${datasource}")
