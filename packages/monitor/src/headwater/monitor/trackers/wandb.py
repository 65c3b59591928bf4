"""Metrics as Weights & Biases runs, offline unless told otherwise.

Afterwards: `wandb sync RUN/trackers/wandb/wandb/offline-run-*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.core.errors import ConfigError
from headwater.core.metrics import TRAIN_STEP
from headwater.core.sinks import check_names
from headwater.core.storage import storage_errors
from headwater.monitor.trackers import lacking, tag_of

MODES = ("offline", "online")


class WandbSink:
    """A `MetricSink` that logs to a W&B run, with `headwater_train_step` as the x axis.

    W&B cannot take a step back: after a resume or a rollback another W&B run of the same group begins, named by the
    step that it goes on from. Nothing but metrics is logged: no configuration, code, command line or host.

    Args:
        folder: Where the files of the runs go.
        project: W&B's project.
        group: The name under which the runs of a training are together.
        mode: "offline" writes files only; "online" sends them to the server that W&B's own settings name (its key
            comes from `WANDB_API_KEY`).

    Raises:
        ConfigError: W&B is not installed, or there is no such mode.
    """

    def __init__(
        self, folder: str | Path, project: str = "headwater", group: str = "training", mode: str = "offline"
    ) -> None:
        if mode not in MODES:
            raise ConfigError("the metric sink wandb has no such mode", found=mode, expected=" or ".join(MODES))
        try:
            import wandb
        except ImportError as error:
            raise lacking("wandb", error) from error
        self._wandb, self._run = wandb, None
        self._options: dict[str, Any] = {"dir": str(folder), "project": project, "group": group, "mode": mode}
        with storage_errors("make", folder):
            Path(folder).mkdir(parents=True, exist_ok=True)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the values of one step."""
        check_names(values)
        if self._run is None:
            self._run = self._begin(step)
        self._run.log({TRAIN_STEP.name: step, **{tag_of(name): value for name, value in values.items()}})

    def rewind(self, step: int) -> None:
        """Begins another run: what comes next are the steps after `step`, whatever was logged of them before."""
        self.close()
        self._run = self._begin(step)

    def close(self) -> None:
        """Writes what is buffered."""
        if self._run is not None:
            self._run.finish()
            self._run = None

    def _begin(self, step: int) -> Any:
        quiet = self._wandb.Settings(
            console="off", silent=True, save_code=False, disable_git=True, disable_code=True, disable_job_creation=True,
            x_disable_meta=True, x_disable_machine_info=True, x_disable_stats=True,
        )  # fmt: skip
        run = self._wandb.init(name=f"from step {step}", reinit="create_new", settings=quiet, **self._options)
        run.define_metric("*", step_metric=TRAIN_STEP.name)
        return run
