"""Watching a run: the Prometheus exporter, the table of metrics, and the run report."""

__version__ = "0.1.0"
