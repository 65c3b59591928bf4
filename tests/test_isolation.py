"""Each package installs alone, in a clean environment, and imports nothing of its siblings."""

import json
import subprocess
import sys
import venv
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


def pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    if arguments[0] == "install":
        command.append("--no-compile")  # what is imported is compiled then
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0 and ("Temporary failure" in result.stderr or "NewConnectionError" in result.stderr):
        pytest.skip("the package index cannot be reached")
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    pip(Path(sys.executable), "wheel", "--no-deps", "-w", str(folder), *(str(ROOT / "packages" / p) for p in PACKAGES))
    return folder


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("package", PACKAGES)
def test_installs_alone_and_imports_no_sibling(package, wheels, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    constraints = ["-c", str(ROOT / "constraints.txt")]
    pip(python, "install", "--upgrade", *constraints, "pip")
    if package in ("train", "eval"):
        pip(python, "install", *constraints, "torch")
    pip(python, "install", *constraints, "--find-links", str(wheels), f"headwater-{package}")
    listing = subprocess.run([str(python), "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    installed = {row["name"] for row in json.loads(listing.stdout)}
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
