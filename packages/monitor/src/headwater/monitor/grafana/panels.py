"""What a Prometheus returns for each panel: which are empty here, and what they show."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from headwater.core.errors import ConfigError, StorageError
from headwater.monitor.grafana.build import Board, Panel, Query

COLUMNS = ("Dashboard", "Panel", "Query", "Series", "Points")
_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Window:
    """A span of time to ask for.

    Attributes:
        start: Unix time.
        end: Unix time.
        step: Seconds between two points.
        rate_interval: What Grafana would put for `$__rate_interval`; at least four scrapes.
    """

    start: float
    end: float
    step: float
    rate_interval: str = "1m"


@dataclass(frozen=True)
class Answer:
    """What one query of a panel returned.

    Attributes:
        board: The dashboard.
        panel: The panel.
        query: The query, as the dashboard has it.
        series: Of Prometheus's range query: `metric` (labels) and `values` (pairs of Unix time and a number as text).
    """

    board: Board
    panel: Panel
    query: Query
    series: list[dict[str, Any]]

    @property
    def points(self) -> int:
        """Of all series together."""
        return sum(len(each["values"]) for each in self.series)


def answers(prometheus: str, boards: Sequence[Board], window: Window) -> Iterator[Answer]:
    """Asks for every query of every panel, with everything chosen that there is to choose.

    Args:
        prometheus: Address of Prometheus.
        boards: Dashboards.
        window: The span of time.

    Raises:
        ConfigError: The address is none.
        StorageError: Prometheus cannot be reached, or refuses a query.
    """
    for board in boards:
        for panel in board.panels:
            for query in panel.queries:
                yield Answer(board, panel, query, _ask(prometheus, filled(board, query.expr, window), window))


def filled(board: Board, expr: str, window: Window) -> str:
    """The expression with everything chosen, as Grafana sends it."""
    for variable in board.variables:
        expr = expr.replace(f"${variable.name}", ".*")
    return expr.replace("$__rate_interval", window.rate_interval)


def rows(found: Sequence[Answer]) -> list[tuple[str, str, str, str, str]]:
    """One row a query, for `COLUMNS`."""
    return [(each.board.title.removeprefix("Headwater: "), each.panel.title, each.query.expr, f"{len(each.series):,}",
             f"{each.points:,}") for each in found]  # fmt: skip


def markdown(found: Sequence[Answer]) -> str:
    """The table for a page."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---|---|---:|---:|"]
    for board, panel, expr, *counts in rows(found):
        code = expr.replace("|", "\\|")
        lines.append(f"| {board} | {panel} | `{code}` | {' | '.join(counts)} |")
    return "\n".join(lines) + "\n"


def _ask(prometheus: str, expr: str, window: Window) -> list[dict[str, Any]]:
    if not prometheus.startswith(("http://", "https://")):
        raise ConfigError("the address of Prometheus is not valid", found=prometheus, expected="http://HOST:PORT")
    asked = {"query": expr, "start": window.start, "end": window.end, "step": window.step}
    url = f"{prometheus.rstrip('/')}/api/v1/query_range"
    try:
        request = urllib.request.Request(url, data=urlencode(asked).encode())  # noqa: S310 (checked above)
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
            return json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")[:500]
        raise StorageError(f"Prometheus at {prometheus} refused a query", found=said, expected=expr) from error
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"Prometheus at {prometheus} cannot be asked", found=str(error),
                           hint="is it running, and is the address right?") from error  # fmt: skip
