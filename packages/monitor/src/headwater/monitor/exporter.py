"""Metrics over HTTP in the Prometheus text format, built from the one table in `core.metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from headwater.core.errors import TrainError
from headwater.core.metrics import TABLE, Metric
from headwater.core.sinks import check_names


class PrometheusSink:
    """A `MetricSink` that serves what it is given at `http://HOST:PORT/metrics`.

    It has a registry of its own, so that nothing but the table's metrics is exported and several sinks can live in
    one process. A metric appears from its first value on: a gauge that nobody set yet is absent rather than 0.

    Args:
        host: Address to listen on; loopback unless told otherwise.
        port: Port to listen on; 0 takes any free one (see `port`).

    Raises:
        TrainError: The port is taken or the address is not one of this machine.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._registry = CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}
        self._counters: dict[str, Counter] = {}
        self._totals: dict[str, float] = {}
        self._histograms: dict[str, Histogram] = {}
        try:
            self._server, self._thread = start_http_server(port, addr=host, registry=self._registry)
        except OSError as error:
            raise TrainError(
                f"cannot serve metrics on {host}:{port}: {error.strerror or error}",
                hint="choose another port, or 0 for any free one",
            ) from error
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
            values: Metric name → value.

        Raises:
            KeyError: A name is not in `core.metrics.TABLE`.
        """
        check_names(values)
        for name, value in values.items():
            metric = TABLE[name]
            if metric.kind == "gauge":
                self._gauge(metric).set(value)
            elif metric.kind == "counter":
                self._count(metric, value)
            else:
                self._histogram(metric).observe(value)

    def close(self) -> None:
        """Stops the server and frees the port. Closing twice is allowed."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> PrometheusSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _gauge(self, metric: Metric) -> Gauge:
        if metric.name not in self._gauges:
            self._gauges[metric.name] = Gauge(metric.name, metric.help, registry=self._registry)
        return self._gauges[metric.name]

    def _histogram(self, metric: Metric) -> Histogram:
        if metric.name not in self._histograms:
            self._histograms[metric.name] = Histogram(
                metric.name, metric.help, buckets=metric.buckets, registry=self._registry
            )
        return self._histograms[metric.name]

    def _count(self, metric: Metric, total: float) -> None:
        if metric.name not in self._counters:
            self._counters[metric.name] = Counter(metric.name, metric.help, registry=self._registry)
        counter, before = self._counters[metric.name], self._totals.get(metric.name, 0.0)
        if total < before:
            # The run went back to an earlier checkpoint. Prometheus reads a fall as a reset, which it is.
            counter.reset()
            before = 0.0
        counter.inc(total - before)
        self._totals[metric.name] = total
