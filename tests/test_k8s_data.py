"""The pod that makes all data of a recipe, run as the kubelet would run it: one container after the other."""

from __future__ import annotations

import subprocess
import sys

import pytest
from line_runs import ENVIRONMENT, ROOT, TINY, digests

from headwater.core import line
from headwater.k8s import data_stages
from headwater.k8s.recipes import Recipe


@pytest.mark.slow
def test_the_pod_of_all_data_stages_makes_what_the_line_makes(tiny_run, tmp_path):
    overrides = (f"cluster.storage.path={tmp_path}", "cluster.monitoring=false", "tokens.workers=2")
    config, _, job = data_stages.render(Recipe(TINY, overrides), "line")
    mounted = tmp_path / "files"
    mounted.mkdir()
    for name, text in config["data"].items():
        (mounted / name).write_text(text)
    pod = job["spec"]["template"]["spec"]
    containers = [*pod["initContainers"], *pod["containers"]]
    names = [each["name"] for each in containers[:-1]]
    assert [*names, "tokens"] == [stage.name for stage in line.STAGES][: len(containers)] == list(data_stages.STAGES)
    for container in containers:
        program, *arguments = [word.replace("/etc/headwater", str(mounted)) for word in container["command"]]
        assert program == "headwater"
        result = subprocess.run(
            [sys.executable, "-m", "headwater.core.cli", *arguments], capture_output=True, text=True, check=False,
            env=ENVIRONMENT, cwd=ROOT,
        )  # fmt: skip
        assert result.returncode == 0, (container["name"], result.stderr[-3000:])
    for stage in ("items", "documents", "tokenizer", "tokens"):
        found = digests(tmp_path / "tiny" / stage)
        assert found and found == digests(tiny_run / stage), stage
