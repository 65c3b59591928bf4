"""The options of the Spark engine in a recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from headwater.core.config import Section


class SparkConfig(Section):
    """The section `documents.engine.spark`.

    Attributes:
        master: For example `spark://host:7077`, `yarn` or `local[8]`; null takes what spark-submit was given, and this
            machine with `workers` cores where there was no spark-submit.
        shuffle_partitions: Tasks that a shuffle ends in; 0 means by the size of the data.
        conf: Further Spark properties; they win over Headwater's. Nested keys are joined by dots.
        ui: Whether the driver serves Spark's page.
        log_level: Of Spark's own log, on stderr.
    """

    master: str | None = None
    shuffle_partitions: int = Field(default=0, ge=0, le=1_000_000)
    conf: dict[str, str] = Field(default_factory=dict)
    ui: bool = False
    log_level: Literal["ERROR", "WARN", "INFO", "DEBUG"] = "WARN"

    @field_validator("master")
    @classmethod
    def _known(cls, master: str | None) -> str | None:
        if master is not None and not re.fullmatch(r"local(-cluster)?(\[.+\])?|yarn|(spark|k8s)://.+", master):
            raise ValueError("no Spark master: local[8], spark://host:7077, yarn or k8s://…")
        return master

    @field_validator("conf", mode="before")
    @classmethod
    def _flat(cls, conf: Any) -> Any:
        return _flatten(conf, "") if isinstance(conf, Mapping) else conf


def _flatten(conf: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    """`{spark: {driver: {memory: 2g}}}` as `{"spark.driver.memory": "2g"}`; numbers and booleans as Spark's text."""
    flat: dict[str, Any] = {}
    for key, value in conf.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{name}.")
        elif isinstance(value, bool):
            flat[name] = str(value).lower()
        else:
            flat[name] = str(value) if isinstance(value, int | float) else value
    return flat
