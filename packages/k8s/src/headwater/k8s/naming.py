"""Names and labels of what belongs to a run (Kubernetes' recommended labels)."""

from __future__ import annotations

import re

from headwater.core.errors import ConfigError

PART_OF = {"app.kubernetes.io/part-of": "headwater"}
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"
LONGEST = 40
"""Characters of a run's name: controllers add to it, and a pod's host name has 63."""


def run_name(name: str) -> str:
    """A run's name, which names its folder on the storage and its objects in the cluster.

    Raises:
        ConfigError: Kubernetes does not take it as a part of names.
    """
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) or len(name) > LONGEST:
        close = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:LONGEST].rstrip("-")
        raise ConfigError(
            "the run's name cannot name objects in a cluster", found=name,
            expected=f"at most {LONGEST} of a-z, 0-9 and -, with a letter first and no - last",
            hint=f"give another with --name{f', for example {close}' if close else ''}",
        )  # fmt: skip
    return name


def labels(run: str, component: str) -> dict[str, str]:
    """Labels of every object of a stage of a run."""
    return {
        "app.kubernetes.io/name": "headwater", **PART_OF, INSTANCE: run, COMPONENT: component,
        "app.kubernetes.io/managed-by": "headwater",
    }  # fmt: skip


def of_run(run: str, component: str | None = None) -> dict[str, str]:
    """The labels by which the pods of a run, or of a stage of it, are selected."""
    return {INSTANCE: run} | ({COMPONENT: component} if component else {})
