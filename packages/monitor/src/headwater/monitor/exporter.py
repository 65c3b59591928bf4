"""Metrics over HTTP in the Prometheus text format, built from the one table in `core.metrics`."""

from __future__ import annotations

import sys
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from threading import Condition, Lock, get_ident
from types import TracebackType

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from headwater.core.console import warn
from headwater.core.errors import ConfigError, TrainError
from headwater.core.metrics import TABLE, Metric, parse_series
from headwater.core.sinks import check_names

_LINGER_SECONDS = 20.0
Family = GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily


class Values(Collector):
    """The latest values, as a collector: exactly the table's metrics, and none of the client's own besides.

    A gauge is absent until it is set. Counters and histograms that were not set yet stand at 0 from the first `take` of
    their stage on, because Prometheus sees an increase only between two samples: a counter that appears with its first
    non-finite step would never fire an alert.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._values: dict[str, float] = {}  # by series
        self._buckets: dict[str, list[int]] = {}
        self._seen = Condition(self._lock)
        self._taken = self._seen_until = 0  # how often values were taken, until now and before the last scrape
        self._answered: dict[int, int] = {}  # of scrapes under way: thread → what of `_taken` is in the answer
        self._scrapes: deque[float] = deque(maxlen=2)  # when the last two were

    def take(self, values: Mapping[str, float]) -> None:
        """Takes gauges by value, counters by running total, histograms by observation."""
        with self._lock:
            self._taken += 1
            stages = {parse_series(series)[0].stage for series in values}
            for metric in TABLE.values():
                if metric.kind != "gauge" and not metric.labels and metric.stage in stages:
                    self._values.setdefault(metric.name, 0.0)
                    self._buckets.setdefault(metric.name, [0] * (len(metric.buckets) + 1))
            for series, value in values.items():
                metric, _ = parse_series(series)
                if metric.kind == "histogram":
                    self._buckets[series][bisect_left(metric.buckets, value)] += 1
                    self._values[series] += value
                else:
                    self._values[series] = float(value)

    def collect(self) -> Iterator[Family]:
        """The families of one scrape, in the table's order."""
        with self._lock:
            of_metric: dict[str, list[str]] = {}
            for series in self._values:
                of_metric.setdefault(series.partition("{")[0], []).append(series)
            families = [self._family(m, of_metric[m.name]) for m in TABLE.values() if m.name in of_metric]
            self._answered[get_ident()] = self._taken
        yield from families

    def sent(self) -> None:
        """Hears that the answer of this thread's scrape was written, if there was one: the process may end after it."""
        with self._lock:
            if (taken := self._answered.pop(get_ident(), None)) is None:
                return
            self._seen_until = max(self._seen_until, taken)
            self._scrapes.append(time.monotonic())
            self._seen.notify_all()

    def wait_for_scrape(self, most: float) -> bool:
        """Waits until the latest values were scraped: somewhat longer than the time between the last two scrapes.

        Args:
            most: Seconds at most. Where nobody scrapes, or no longer, there is no wait.

        Returns:
            Whether they were.
        """
        with self._lock:
            if len(self._scrapes) < 2:
                return False
            between = self._scrapes[1] - self._scrapes[0]
            left = min(most, self._scrapes[1] + 1.5 * between + 1.0 - time.monotonic())
            return self._seen.wait_for(lambda: self._seen_until == self._taken, timeout=max(left, 0.0))

    def _family(self, metric: Metric, all_series: list[str]) -> Family:
        if metric.kind != "histogram":
            kind = GaugeMetricFamily if metric.kind == "gauge" else CounterMetricFamily
            family = kind(metric.name, metric.help, labels=metric.labels)
            for series in all_series:
                family.add_metric(list(parse_series(series)[1].values()), self._values[series])
            return family
        value = self._values[metric.name]
        bounds = [*(str(float(bound)) for bound in metric.buckets), "+Inf"]
        counts = accumulate(self._buckets[metric.name])
        return HistogramMetricFamily(metric.name, metric.help, list(zip(bounds, counts, strict=True)), value)


class _Answer:
    """The body of an answer, which tells when all of it was written (PEP 3333: servers call `close`)."""

    def __init__(self, body: Iterable[bytes], values: Values) -> None:
        self._body, self._values = body, values

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        self._values.sent()


def _tell_of_faults(request: object, client_address: object) -> None:
    """In place of the server's own: a scraper that went away is no fault of this program."""
    if not isinstance(sys.exc_info()[1], ConnectionError):
        warn(f"metrics could not be served to {client_address}: {sys.exc_info()[1]!r}")


class PrometheusSink:
    """A `MetricSink` that serves what it is given at `http://HOST:PORT/metrics`.

    It has a registry of its own, so several sinks can live in one process.

    Args:
        host: Address to listen on; loopback unless told otherwise.
        port: Port to listen on; 0 takes any free one (see `port` and `url`).

    Raises:
        ConfigError: The host is no text, or the port no number that a port can have.
        TrainError: The port is taken, or the address is not one of this machine.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        # They come from a recipe as they are.
        if type(port) is not int or not 0 <= port < 2**16:
            raise ConfigError("the port of the metrics is not valid", found=port, expected="0 (any free one) to 65535")
        if type(host) is not str or not host:
            raise ConfigError("the host of the metrics is not valid", found=host, expected="a name or an address")
        self._values = Values()
        registry = CollectorRegistry()
        registry.register(self._values)
        try:
            self._server, self._thread = start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            raise TrainError(
                f"cannot serve metrics on {host}:{port}: {error.strerror or error}",
                hint="choose another port, or 0 for any free one",
            ) from error
        answer = self._server.get_app()
        if answer is None:
            raise RuntimeError("the metrics server has no application")
        self._server.handle_error = _tell_of_faults
        self._server.set_app(lambda environ, start: _Answer(answer(environ, start), self._values))
        self.host = host
        self.port = int(self._server.server_port)

    @property
    def url(self) -> str:
        """Where to scrape."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/metrics"

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the values of one step: gauges by value, counters by running total, histograms by observation.

        Args:
            step: The step; scrapes carry their own time, so it is not exported (`headwater_train_step` is).
            values: Series of a metric (its name, where it has no labels) → value.

        Raises:
            KeyError: A name is not in `core.metrics.TABLE`.
        """
        check_names(values)
        self._values.take(values)

    def rewind(self, step: int) -> None:
        """Does nothing: gauges and counters come again, lower, and Prometheus has its own record of what was."""

    def close(self) -> None:
        """Stops the server and frees the port, after the last values were scraped. Closing twice is allowed."""
        if self._thread.is_alive():
            self._values.wait_for_scrape(_LINGER_SECONDS)
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> PrometheusSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
