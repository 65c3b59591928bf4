"""submit, status and cancel through a real kubectl to a real API server for custom resources."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from api_front import Front
from click.testing import CliRunner
from rendered import RECIPE

from headwater.k8s.cli import k8s
from headwater.k8s.kubectl import ClusterError

pytestmark = pytest.mark.services


@pytest.fixture
def cluster(crd_api, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    with Front(crd_api) as front:
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(crd_api.kubeconfig(front.url)))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.setenv("HOME", str(tmp_path))  # where kubectl caches what a cluster has
        yield front


def run(*arguments: str) -> str:
    return CliRunner().invoke(k8s, [*arguments], catch_exceptions=False, standalone_mode=False).output


def jobs(api) -> list[str]:
    _, answer = api.request("GET", "/apis/trainer.kubeflow.org/v1alpha1/namespaces/headwater/trainjobs")
    return [each["metadata"]["name"] for each in answer["items"]]


def test_a_run_is_checked_sent_shown_and_cancelled(cluster, crd_api):
    said = run("submit", "train", "--recipe", str(RECIPE), "--dry-run", "server")
    assert "trainjob.trainer.kubeflow.org/llama-7b-train serverside-applied (server dry run)" in said
    assert jobs(crd_api) == [] and not cluster.kept

    run("submit", "train", "--recipe", str(RECIPE))
    assert jobs(crd_api) == ["llama-7b-train"]
    run("submit", "train", "--recipe", str(RECIPE))  # again: nothing changes
    assert "llama-7b-train" in run("status", "--recipe", str(RECIPE))
    assert "there is nothing of other" in run("status", "--recipe", str(RECIPE), "--name", "other")

    with pytest.raises(ClusterError) as raised:
        run("submit", "train", "--recipe", str(RECIPE), "cluster.images.train=headwater/train:0.2.0")
    assert "immutable" in str(raised.value.found) and "another --name" in str(raised.value.hint)

    said = run("cancel", "--recipe", str(RECIPE))
    assert "llama-7b-train" in said
    assert jobs(crd_api) == [] and not cluster.kept


def test_what_the_server_refuses_is_passed_on(cluster, monkeypatch):
    monkeypatch.setattr("headwater.k8s.train.GANG_SECONDS", "five minutes")
    with pytest.raises(ClusterError) as raised:
        run("submit", "train", "--recipe", str(RECIPE), "--dry-run", "server", "cluster.queue=null",
            "cluster.gang=coscheduling")  # fmt: skip
    assert "scheduleTimeoutSeconds" in str(raised.value.found)
