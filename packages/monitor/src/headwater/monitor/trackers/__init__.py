"""Experiment trackers as metric sinks: TensorBoard, Weights & Biases, MLflow. Each library is an extra."""

from __future__ import annotations

import re

from headwater.core.errors import ConfigError
from headwater.core.metrics import parse_series

_ODD = re.compile(r"[^\w.-]")


def tag_of(series: str) -> str:
    """A series under a name that all trackers take: `headwater_train_source_loss/web`."""
    metric, labels = parse_series(series)
    return "/".join([metric.name, *(_ODD.sub("_", value) for value in labels.values())])


def lacking(library: str, error: ImportError) -> ConfigError:
    """The error of a tracker whose library is not installed."""
    return ConfigError(
        f"the metric sink {library} needs a library that is not installed", found=str(error),
        hint=f"pip install 'headwater-monitor[{library}]'",
    )  # fmt: skip
