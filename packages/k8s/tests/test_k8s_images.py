"""The Dockerfiles: linted, rootless, pinned, and with what the manifests expect in them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from rendered import case, of_kind

from headwater.k8s.config import Spark
from headwater.k8s.data import MAIN
from headwater.k8s.pods import USER

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_hadolint_has_nothing_to_say(path):
    program = shutil.which("hadolint", path=PATH)
    if program is None:
        pytest.skip("hadolint is not installed")
    result = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_image_runs_as_the_pods_user_and_takes_pinned_versions(path):
    text = path.read_text()
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == f"{USER}:{USER}"
    assert "PIP_CONSTRAINT=/src/constraints.txt" in text
    for base in re.findall(r"^(?:FROM|ARG PYTHON=)\s*(\S+)", text, re.MULTILINE):
        assert base == "${PYTHON}" or re.search(r":\d+\.\d+\.\d+-[\w-]+@sha256:[0-9a-f]{64}$", base), base
    for source in re.findall(r"^COPY (?!--from)(?:--\S+ )?(\S+) ", text, re.MULTILINE):
        assert (ROOT / source).exists()


def test_every_package_is_in_an_image():
    text = "".join(path.read_text() for path in FILES)
    packages = {path.parent.name for path in (ROOT / "packages").glob("*/pyproject.toml")}
    assert packages and all(f"packages/{name}" in text for name in packages)


def test_spark_in_the_image_is_the_version_that_manifests_name():
    pinned = re.search(r"^pyspark==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None and Spark().version == pinned.group(1)
    assert MAIN in (ROOT / "docker" / "data.Dockerfile").read_text()
    assert of_kind(case("data"), "SparkApplication")["spec"]["mainApplicationFile"] == f"local://{MAIN}"


@pytest.fixture
def entrypoint(tmp_path):
    """The entry point of the image, with a tini that prints what it was to start."""
    (tmp_path / "tini").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "tini").chmod(0o755)

    def run(*arguments: str, **variables: str) -> list[str]:
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SPARK_HOME": "/spark", **variables}
        result = subprocess.run(
            ["bash", str(ROOT / "docker" / "spark-entrypoint.sh"), *arguments],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return result.stdout.splitlines()[2:]

    return run


def test_the_driver_starts_by_spark_submit(entrypoint):
    command = entrypoint("driver", "--class", "X", "local:///a b.py", SPARK_DRIVER_BIND_ADDRESS="10.0.0.7")
    assert command[0] == "/spark/bin/spark-submit"
    assert command[-3:] == ["--class", "X", "local:///a b.py"]
    assert "spark.driver.bindAddress=10.0.0.7" in command


def test_an_executor_starts_with_its_options_in_order(entrypoint):
    options = {f"SPARK_JAVA_OPT_{number}": f"-Dn={number} x" for number in range(11)}
    names = ("DRIVER_URL", "EXECUTOR_ID", "EXECUTOR_CORES", "APPLICATION_ID", "EXECUTOR_POD_IP",
             "RESOURCE_PROFILE_ID", "EXECUTOR_POD_NAME")  # fmt: skip
    command = entrypoint(
        "executor", SPARK_EXECUTOR_MEMORY="3g", **options, **{f"SPARK_{name}": name.lower() for name in names}
    )
    assert command[1:12] == [f"-Dn={number} x" for number in range(11)]
    assert "-Xmx3g" in command
    assert command[command.index("--podName") + 1] == "executor_pod_name"


def test_spark_has_what_an_executor_starts():
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        pytest.skip("pyspark is not installed")
    (jar,) = (Path(spec.origin).parent / "jars").glob("spark-kubernetes_*.jar")
    name = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
    assert name in (ROOT / "docker" / "spark-entrypoint.sh").read_text()
    assert f"{name.replace('.', '/')}.class" in zipfile.ZipFile(jar).namelist()


def test_anything_else_is_a_headwater_command(entrypoint):
    assert entrypoint("data", "run", "--help") == ["headwater", "data", "run", "--help"]
