"""Writes `k8s/base`, `k8s/components` and `k8s/cluster` as `headwater k8s render` has them (`make k8s`)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from headwater.k8s import namespace
from headwater.k8s.recipes import Recipe
from headwater.k8s.write import write_files

HERE = Path(__file__).resolve().parent
MONITORING = "components/monitoring"
KUEUE = "components/kueue"


def place_of(manifest: dict[str, Any]) -> str:
    """The folder that an object of a namespace is written to."""
    if manifest["kind"] == "LocalQueue":
        return KUEUE
    watches = "monitoring.coreos.com" in manifest["apiVersion"] or manifest["kind"] == "ConfigMap"
    return MONITORING if watches or manifest["metadata"]["name"] == "metrics" else "base"


def main() -> None:
    """Writes them."""
    folders: dict[str, list[dict[str, Any]]] = {}
    everything = ["cluster.queue=training", "cluster.monitoring=true"]
    for manifest in namespace.render(Recipe(HERE / "clusters" / "local.yaml", everything).cluster):
        folders.setdefault(place_of(manifest), []).append(manifest)
    for recipe in sorted((HERE / "clusters").glob("*.yaml")):
        objects = namespace.render_cluster(Recipe(recipe).cluster)
        if objects:
            folders[f"cluster/{recipe.stem}"] = objects
    for generated in ("base", "components", "cluster"):
        shutil.rmtree(HERE / generated, ignore_errors=True)
    for name, objects in folders.items():
        files = write_files(HERE / name, objects)
        component = name.startswith("components/")
        kustomization = {
            "apiVersion": f"kustomize.config.k8s.io/{'v1alpha1' if component else 'v1beta1'}",
            "kind": "Component" if component else "Kustomization",
            "resources": [file.name for file in files],
        }
        (HERE / name / "kustomization.yaml").write_text(
            "# Written by `make k8s`.\n" + yaml.safe_dump(kustomization, sort_keys=False)
        )


if __name__ == "__main__":
    main()
