"""The workflow of the gate: what it names exists, and its steps do what they say when a shell runs them."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from headwater.eval.gate_cli import gate

ROOT = Path(__file__).parents[3]
PATH = ROOT / ".github" / "workflows" / "eval-gate.yaml"
sys.path.insert(0, str(Path(__file__).parent))
written = importlib.import_module("test_eval_gate")


@pytest.fixture
def workflow():
    return yaml.safe_load(PATH.read_text())


def steps(workflow):
    return workflow["jobs"]["gate"]["steps"]


def script(workflow):
    return next(step for step in steps(workflow) if step.get("name") == "gate")


def test_what_it_names_exists(workflow):
    inputs = workflow[True]["workflow_call"]["inputs"]  # YAML 1.1 reads `on` as a truth value
    assert set(re.findall(r"inputs\.([\w-]+)", PATH.read_text())) == set(inputs)
    options = {option for parameter in gate.params for option in parameter.opts}
    assert set(re.findall(r"(?<= )(--[a-z-]+)", script(workflow)["run"])) <= options
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert {step["run"].split()[1] for step in steps(workflow) if step.get("run", "").startswith("make")} <= {*targets}
    # Values reach a script by the environment only.
    assert not any("${{" in step.get("run", "") for step in steps(workflow))
    assert all("${{ inputs." in value for value in script(workflow)["env"].values())


@pytest.mark.parametrize(("lost", "status", "verdict"), [(80, 3, "NO-GO"), (0, 0, "GO")])
def test_its_steps_give_the_verdict(workflow, tmp_path, lost, status, verdict):
    written.write(tmp_path / "old", {"t": written.BASE})
    written.write(tmp_path / "new; exit 9", {"t": written.changed(written.BASE, lost)})
    (tmp_path / "suite.yaml").write_text("description: ours\ntasks:\n  t: {}\n")
    command = tmp_path / ".venv" / "bin" / "headwater"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m headwater.core.cli "$@"\n')
    command.chmod(0o755)
    given = {"CANDIDATE": "new; exit 9", "BASELINE": "old", "SUITE": "suite.yaml", "DATA_DIR": ""}
    assert given.keys() == script(workflow)["env"].keys()
    summary = tmp_path / "summary.md"
    environment = os.environ | given | {"GITHUB_STEP_SUMMARY": str(summary)}
    done = subprocess.run(
        ["bash", "-e", "-c", script(workflow)["run"]], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == status, done.stderr
    assert summary.read_text().startswith(f"### {verdict}") and (tmp_path / "gate.xml").is_file()
