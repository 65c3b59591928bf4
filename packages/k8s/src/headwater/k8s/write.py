"""Manifests as text and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from headwater.core.storage import atomic_write, storage_errors
from headwater.k8s.kubectl import SPARK
from headwater.k8s.recipes import Recipe


class _Dumper(yaml.SafeDumper):
    """YAML as people write manifests: no anchors, long texts as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        """Objects that occur twice are written twice."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def as_yaml(objects: Sequence[dict[str, Any]]) -> str:
    """Manifests as one text of several documents."""
    return "---\n".join(
        yaml.dump(each, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True) for each in objects
    )


def write_files(folder: Path, objects: Sequence[dict[str, Any]]) -> list[Path]:
    """Writes one file an object, named by kind and name.

    Raises:
        StorageError: The disk refused.
    """
    files: list[Path] = []
    with storage_errors("create", folder):
        folder.mkdir(parents=True, exist_ok=True)
    for each in objects:
        path = folder / f"{each['kind'].lower()}-{each['metadata']['name']}.yaml"
        atomic_write(path, as_yaml([each]))
        files.append(path)
    return files


def named(manifest: dict[str, Any]) -> str:
    """What kubectl calls an object."""
    group = manifest["apiVersion"].rpartition("/")[0]
    return f"{manifest['kind'].lower()}{f'.{group}' if group else ''}/{manifest['metadata']['name']}"


def kinds_of(recipe: Recipe) -> list[str]:
    """Resources that the stages of a recipe can have in the cluster, those with jobs first."""
    training = {
        "trainjob": ["trainjobs.trainer.kubeflow.org"],
        "jobset": ["jobsets.jobset.x-k8s.io"],
        "pytorchjob": ["pytorchjobs.kubeflow.org"],
    }[recipe.cluster.kind]
    if recipe.cluster.kind == "trainjob" and recipe.cluster.runtime == "TrainingRuntime":
        training.append("trainingruntimes.trainer.kubeflow.org")
    if recipe.cluster.kind == "jobset" and recipe.cluster.gang == "coscheduling":
        training.append("podgroups.scheduling.x-k8s.io")
    spark = [SPARK] if "documents" in recipe.values else []
    return [*training, *spark, "cronjobs", "jobs", "deployments.apps"]
