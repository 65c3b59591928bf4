"""Each package installs alone, in a clean environment, and imports nothing of its siblings."""

import json
import os
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("core", "data", "train", "eval", "monitor", "k8s")

EXTRAS = {"headwater.data.engines.beam.": {"apache_beam", "grpc"}}
"""Modules that only an extra's users import, and what the extra brings."""

WALK = """
import importlib, json, pkgutil, sys
name = sys.argv[1]
package = importlib.import_module(f"headwater.{name}")
if name == "train":
    # torchtitan can only be imported on a CPU after the stand-ins for what it lacks there.
    from headwater.train.titan import cpu
    cpu.install("cpu")
count, missing = 0, {}
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if module.name.endswith(".__main__"):
        continue  # it runs a command when it is imported
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        missing[module.name] = error.name  # an extra's own modules; the test knows which
    count += 1
loaded = sorted({module.split(".")[1] for module in sys.modules if module.startswith("headwater.")})
print(json.dumps({"modules": count, "loaded": loaded, "missing": missing}))
"""


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0 and ("Temporary failure" in result.stderr or "NewConnectionError" in result.stderr):
        pytest.skip("the package index cannot be reached")
    assert result.returncode == 0, result.stderr[-3000:]


def install(environment: Path, *what: str) -> None:
    """By this environment's pip: a new one would have to be made newer first (CONTRIBUTING.md), in each."""
    more = ["--no-compile", "-c", str(ROOT / "constraints.txt")]  # what is imported is compiled then
    pip("--python", str(environment / "bin" / "python"), "install", *more, *what)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    sources = [str(ROOT / "packages" / package) for package in PACKAGES]
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), *sources)
    return folder


@pytest.fixture(scope="module")
def with_torch(tmp_path_factory) -> Path:
    """An environment with torch, which takes longer than all else together."""
    folder = tmp_path_factory.mktemp("torch") / "env"
    venv.create(folder)
    install(folder, "torch")
    return folder


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("package", PACKAGES)
def test_installs_alone_and_imports_no_sibling(package, wheels, tmp_path, request):
    environment = tmp_path / "env"
    if package in ("train", "eval"):
        shutil.copytree(request.getfixturevalue("with_torch"), environment, symlinks=True, copy_function=os.link)
    else:
        venv.create(environment)
    python = environment / "bin" / "python"
    install(environment, "--find-links", str(wheels), f"headwater-{package}")
    (packages,) = environment.glob("lib/*/site-packages")
    installed = {found.name for found in metadata.distributions(path=[str(packages)])}
    assert {name for name in installed if name.startswith("headwater")} == {"headwater-core", f"headwater-{package}"}
    walk = subprocess.run([str(python), "-c", WALK, package], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert walk.returncode == 0, walk.stderr[-3000:]
    answer = json.loads(walk.stdout.splitlines()[-1])
    assert answer["modules"] >= 3
    assert set(answer["loaded"]) <= {"core", package}
    for module, needed in answer["missing"].items():
        assert any(module.startswith(folder) and needed in extra for folder, extra in EXTRAS.items()), (module, needed)
    help_text = subprocess.run([str(python.parent / "headwater"), "--help"], capture_output=True, text=True, check=True)
    assert "Usage: headwater" in help_text.stdout
