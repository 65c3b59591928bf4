"""What of a recipe goes to a stage's pods: the sections that the stage reads, checked here by their own classes.

A stage's image holds that stage's package only, and refuses sections of packages that it does not have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from headwater.core.config import SECTIONS_GROUP, Base, dump_yaml, read_recipe, validate
from headwater.core.errors import ConfigError
from headwater.k8s.config import Cluster
from headwater.k8s.naming import labels, run_name

RECIPE_FILE = "recipe.yaml"

SECTIONS = {
    "train": ("mixture", "train"),
    "data": ("sources", "documents", "tokenizer", "tokens"),
    "eval": ("eval",),
}
"""Stage → the sections that its commands read."""


class Recipe:
    """A recipe, read once.

    Args:
        recipe: As `core.config.read_recipe`.
        overrides: As there.
        name: Of the run in the cluster; none: the recipe's.

    Attributes:
        base: Its name and seed.
        cluster: Its `cluster` section.
        run: The run's name.

    Raises:
        ConfigError: The recipe or its `cluster` section is wrong, or the name is none for a cluster.
    """

    def __init__(self, recipe: str | Path, overrides: Sequence[str] = (), name: str | None = None) -> None:
        self.values = read_recipe(recipe, overrides)
        self.base = validate(Base, {key: self.values[key] for key in Base.model_fields if key in self.values}, "")
        self.cluster = validate(Cluster, self.values.get("cluster"), "cluster")
        self.run = run_name(name or self.base.name)

    @property
    def folder(self) -> str:
        """The run folder, in pods."""
        return f"{self.cluster.storage.path}/{self.run}"

    def section(self, name: str) -> Any:
        """A section, validated by the package that it belongs to.

        Raises:
            ConfigError: It is not valid, or that package is not installed here.
        """
        return validate(_model(name), self.values.get(name), name)

    def for_stage(self, stage: str, **changed: dict[str, Any]) -> dict[str, Any]:
        """The ConfigMap with what a stage's pods need of the recipe; arguments and errors as `text_for`."""
        files = {RECIPE_FILE: self.text_for(stage, **changed)}
        return config_map(f"{self.run}-{stage}", self.run, stage, self.cluster.namespace, files)

    def text_for(self, stage: str, **changed: dict[str, Any]) -> str:
        """What a stage's pods need of the recipe, as YAML.

        Args:
            stage: train, data or eval.
            changed: Section → its values, in place of the recipe's.

        Raises:
            ConfigError: As `section`; or the recipe has none of the stage's sections.
        """
        found: dict[str, Any] = self.base.model_dump(mode="json")
        for name in SECTIONS[stage]:
            if name in changed:
                found[name] = validate(_model(name), changed[name], name).model_dump(mode="json")
            elif name in self.values:
                found[name] = self.section(name).model_dump(mode="json")
        if stage not in found and stage != "data":
            raise ConfigError(f"the recipe has no section {stage}", hint="name a recipe that has it")
        return dump_yaml(found)


def _model(section: str) -> Any:
    point = next(iter(entry_points(group=SECTIONS_GROUP, name=section)), None)
    if point is None:
        package = next((stage for stage, names in SECTIONS.items() if section in names), section)
        raise ConfigError(
            f"the section {section} can be checked only where its package is installed",
            hint=f"pip install headwater-{package}",
        )
    return point.load()


def config_map(name: str, run: str, stage: str, namespace: str, files: Mapping[str, str]) -> dict[str, Any]:
    """A ConfigMap with files. Its name has their digest: changed files are another one.

    Args:
        name: The beginning of its name.
        run: The run's name.
        stage: The stage that it is for.
        namespace: Where it goes.
        files: Name → content.
    """
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:10]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name}-{digest}", "namespace": namespace, "labels": labels(run, stage)},
        "immutable": True,
        "data": dict(files),
    }
