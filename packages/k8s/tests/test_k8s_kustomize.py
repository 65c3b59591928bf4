"""`k8s/` says what `headwater k8s render` says, through a real kustomize."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.k8s import namespace
from headwater.k8s.recipes import Recipe

ROOT = Path(__file__).resolve().parents[3]
OVERLAYS = sorted(path.name for path in (ROOT / "k8s" / "overlays").iterdir())


def built(folder: Path) -> list[dict[str, Any]]:
    program = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("kubectl, which has kustomize, is not installed")
    result = subprocess.run([program, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return ordered(yaml.load_all(result.stdout, Loader=yaml.CSafeLoader))


def ordered(objects: Any) -> list[dict[str, Any]]:
    return sorted(objects, key=lambda each: (each["kind"], each["metadata"]["name"]))


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_is_what_its_cluster_section_renders(name):
    recipe = Recipe(ROOT / "k8s" / "clusters" / f"{name}.yaml")
    assert built(ROOT / "k8s" / "overlays" / name) == ordered(namespace.render(recipe.cluster)), "run: make k8s"


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "k8s" / "cluster").iterdir()))
def test_what_an_administrator_applies_is_what_the_section_renders(name):
    recipe = Recipe(ROOT / "k8s" / "clusters" / f"{name}.yaml")
    assert built(ROOT / "k8s" / "cluster" / name) == ordered(namespace.render_cluster(recipe.cluster)), "run: make k8s"


def test_every_section_has_its_overlay():
    assert sorted(path.stem for path in (ROOT / "k8s" / "clusters").glob("*.yaml")) == OVERLAYS
