"""Metrics as MLflow runs, in a SQLite file unless told otherwise.

Afterwards: `mlflow ui --backend-store-uri sqlite:///RUN/trackers/mlflow/mlflow.db`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.core.errors import ConfigError
from headwater.core.sinks import check_names
from headwater.core.storage import storage_errors
from headwater.monitor.trackers import lacking, tag_of

FLUSH_SECONDS = 10.0
_AT_ONCE = 1000  # MLflow's own limit of a batch


class MlflowSink:
    """A `MetricSink` that logs to MLflow, some seconds at a time.

    MLflow keeps every value that a step was given: after a resume or a rollback another MLflow run of the same
    experiment begins, and the one before gets the tag `headwater.undone_after_step`. Nothing but metrics is logged.

    Args:
        folder: Where `mlflow.db` goes, when `uri` is not given.
        uri: MLflow's tracking store. Its credentials come from MLflow's environment variables, and not from a recipe.
        experiment: MLflow's experiment.

    Raises:
        ConfigError: MLflow is not installed, or the address carries a password.
    """

    def __init__(self, folder: str | Path, uri: str | None = None, experiment: str = "headwater") -> None:
        if uri is not None and "@" in uri:
            raise ConfigError(
                "the metric sink mlflow takes no credentials in its uri", expected="an address without user@",
                hint="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            )  # fmt: skip
        try:
            from mlflow import MlflowClient, entities
        except ImportError as error:
            raise lacking("mlflow", error) from error
        if uri is None:
            with storage_errors("make", folder):
                Path(folder).mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{Path(folder).absolute() / 'mlflow.db'}"
        self._entities, self._waiting, self._flushed = entities, list[Any](), time.monotonic()
        self._run: str | None = None
        try:
            self._client = MlflowClient(tracking_uri=uri)
            known = self._client.get_experiment_by_name(experiment)
            self._experiment = known.experiment_id if known else self._client.create_experiment(experiment)
        except ImportError as error:  # its database needs more than its client
            raise lacking("mlflow", error) from error

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the values of one step."""
        check_names(values)
        if self._run is None:
            self._begin(step)
        now = int(time.time() * 1000)
        self._waiting += [self._entities.Metric(tag_of(name), float(v), now, step) for name, v in values.items()]
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def rewind(self, step: int) -> None:
        """Begins another run: what comes next are the steps after `step`, whatever was logged of them before."""
        if self._run is not None:
            self._client.set_tag(self._run, "headwater.undone_after_step", step)
        self.close()
        self._begin(step)

    def close(self) -> None:
        """Writes what is waiting."""
        if self._run is not None:
            self._flush()
            self._client.set_terminated(self._run)
            self._run = None

    def _begin(self, step: int) -> None:
        made = self._client.create_run(
            self._experiment, run_name=f"from step {step}", tags={"headwater.from_step": str(step)}
        )
        self._run = made.info.run_id

    def _flush(self) -> None:
        if self._run is None:
            return
        for first in range(0, len(self._waiting), _AT_ONCE):
            self._client.log_batch(self._run, metrics=self._waiting[first : first + _AT_ONCE])
        self._waiting, self._flushed = [], time.monotonic()
