"""The command: what it prints, what it gives to kubectl, and what it makes of kubectl's answers."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from rendered import RECIPE, case

from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter
from headwater.k8s.cli import k8s
from headwater.k8s.dispatch import ApiServer, dispatch
from headwater.k8s.kubectl import ClusterError

KUBECTL = """#!{python}
import json, os, sys
with open(os.environ["SEEN"], "a") as seen:
    print(json.dumps({{"arguments": sys.argv[1:], "given": sys.stdin.read()}}), file=seen)
if "sparkapplications" in " ".join(sys.argv) and "NO_SPARK" in os.environ:
    sys.exit("error: the server doesn't have a resource type \\"sparkapplications\\" in group \\"sparkoperator\\"")
print(os.environ.get("SAYS", ""), file=sys.stderr if "FAILS" in os.environ else sys.stdout)
sys.exit(1 if "FAILS" in os.environ else 0)
"""


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    """A kubectl that writes down what it was given, in the place of a cluster."""
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(KUBECTL.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen.json"))
    return lambda call=-1: json.loads((tmp_path / "seen.json").read_text().splitlines()[call])


def run(*arguments: str) -> str:
    result = CliRunner().invoke(k8s, [*arguments], catch_exceptions=False, standalone_mode=False)
    return result.output


def test_what_is_printed_is_what_is_rendered():
    assert list(yaml.safe_load_all(run("render", "train", "--recipe", str(RECIPE)))) == case("trainjob")


def test_files_hold_one_object_each(tmp_path):
    run("render", "eval", "--recipe", str(RECIPE), "--output", str(tmp_path))
    assert ordered(yaml.safe_load(path.read_text()) for path in tmp_path.iterdir()) == ordered(case("eval"))


def ordered(objects: Any) -> list[str]:
    return sorted(json.dumps(each, sort_keys=True) for each in objects)


def test_spark_submit_has_what_the_operator_has(tmp_path):
    run("render", "data", "--recipe", str(RECIPE), "--spark-submit", "https://10.0.0.1:6443", "--output", str(tmp_path))
    command = (tmp_path / "submit.sh").read_text()
    (application,) = [each for each in case("data") if each["kind"] == "SparkApplication"]
    assert "--master k8s://https://10.0.0.1:6443" in command and "--deploy-mode cluster" in command
    for key, value in application["spec"]["sparkConf"].items():
        assert f"{key}={value}" in command
    assert f"spark.executor.memory={application['spec']['executor']['memory']}" in command
    assert f"spark.executor.instances={application['spec']['executor']['instances']}" in command
    for role in ("driver", "executor"):
        pod = yaml.safe_load((tmp_path / f"{role}.yaml").read_text())
        assert {"metadata": pod["metadata"], "spec": pod["spec"]} == application["spec"][role]["template"]
        assert f"spark.kubernetes.{role}.podTemplateFile=./{role}.yaml" in command
    assert command.rstrip().endswith(" ".join(application["spec"]["arguments"]))


@pytest.mark.parametrize("stage", ["items", "collect", "tokenizer", "tokens"])
def test_each_data_stage_is_submitted_as_a_job(kubectl, stage):
    run("submit", "data", "--stage", stage, "--recipe", str(RECIPE))
    kinds = [each["kind"] for each in yaml.safe_load_all(kubectl()["given"])]
    assert kinds == ["ConfigMap", "NetworkPolicy", "Job"]
    run("submit", "data", "--stage", "documents", "--recipe", str(RECIPE))
    assert "SparkApplication" in kubectl()["given"]


def test_the_spark_script_finds_its_pod_templates_from_anywhere(tmp_path):
    folder = tmp_path / "spark"
    run("render", "data", "--recipe", str(RECIPE), "--spark-submit", "https://10.0.0.1:6443", "--output", str(folder))
    (tmp_path / "spark-submit").write_text("#!/bin/sh\nls ./driver.yaml ./executor.yaml\n")
    (tmp_path / "spark-submit").chmod(0o755)
    paths = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["bash", str(folder / "submit.sh")], cwd="/", env=os.environ | {"PATH": paths}, check=True)


def test_client_dry_run_asks_no_cluster(kubectl, tmp_path):
    said = run("submit", "train", "--recipe", str(RECIPE), "--dry-run", "client")
    assert "trainjob.trainer.kubeflow.org/llama-7b-train (not sent)" in said
    assert not (tmp_path / "seen.json").exists()


@pytest.mark.parametrize(("dry_run", "flag"), [("server", True), ("none", False)])
def test_manifests_go_to_the_server_which_checks_every_field(kubectl, dry_run, flag):
    run("submit", "train", "--recipe", str(RECIPE), "--dry-run", dry_run, "--context", "prod")
    seen = kubectl()
    assert list(yaml.safe_load_all(seen["given"])) == case("trainjob")
    assert seen["arguments"][:5] == ["--context", "prod", "--namespace", "headwater", "apply"]
    assert {"--server-side", "--validate=strict", "--filename=-"} <= set(seen["arguments"])
    assert ("--dry-run=server" in seen["arguments"]) == flag


def test_status_logs_and_cancel_are_of_one_run(kubectl):
    run("status", "--recipe", str(RECIPE), "--name", "other")
    assert "--selector=app.kubernetes.io/instance=other" in kubectl()["arguments"]
    run("cancel", "train", "--recipe", str(RECIPE), "--no-wait")
    arguments = kubectl()["arguments"]
    assert "--selector=app.kubernetes.io/instance=llama-7b,app.kubernetes.io/component in (train)" in arguments
    assert "--wait=false" in arguments
    kinds = arguments[arguments.index("delete") + 1].split(",")
    assert {"trainjobs.trainer.kubeflow.org", "trainingruntimes.trainer.kubeflow.org", "jobs", "pods"} <= set(kinds)
    assert not {"namespaces", "persistentvolumeclaims", "networkpolicies"} & set(kinds)
    result = CliRunner().invoke(k8s, ["logs", "data", "--recipe", str(RECIPE), "-f"])
    assert result.exit_code == 0
    assert "app.kubernetes.io/component in (data,data-driver)" in " ".join(kubectl()["arguments"])


def test_pods_keep_their_network_until_they_are_gone(kubectl):
    """They write their last checkpoint over it."""
    run("cancel", "--recipe", str(RECIPE))
    first, last = (kubectl(call)["arguments"] for call in (-2, -1))
    assert "pods" in first[first.index("delete") + 1].split(",") and "--wait=true" in first
    assert set(last[last.index("delete") + 1].split(",")) == {"configmaps", "networkpolicies", "poddisruptionbudgets"}


def test_where_there_is_nothing_to_cancel_it_says_so_once(kubectl, monkeypatch):
    monkeypatch.setenv("SAYS", "No resources found")
    assert run("cancel", "--recipe", str(RECIPE)) == "there is nothing of llama-7b in headwater\n"


def test_spark_submits_pods_are_shown_without_the_operator(kubectl, monkeypatch):
    monkeypatch.setenv("NO_SPARK", "")
    run("status", "--recipe", str(RECIPE))
    arguments = kubectl()["arguments"]
    assert {"pods", "trainjobs.trainer.kubeflow.org"} <= set(arguments[arguments.index("get") + 1].split(","))


@pytest.mark.parametrize(
    ("says", "advice"),
    [
        ('error: no matches for kind "TrainJob" in version "trainer.kubeflow.org/v1alpha1"', "cluster.kind"),
        ('Error from server (NotFound): namespaces "headwater" not found', "submit namespace"),
        ("Error from server (Forbidden): trainjobs is forbidden", "ask for a Role"),
        ("The connection to the server 10.0.0.1 was refused: cannot connect", "--context"),
        ('context "prod" does not exist', "--context"),
        ("spec.trainer: Invalid value: field is immutable", "another --name"),
    ],
)
def test_what_kubectl_refuses_comes_with_advice(kubectl, monkeypatch, says, advice):
    monkeypatch.setenv("SAYS", says)
    monkeypatch.setenv("FAILS", "1")
    with pytest.raises(ClusterError) as raised:
        run("submit", "train", "--recipe", str(RECIPE))
    assert says in str(raised.value.found) and advice in str(raised.value.hint)


def test_kubectls_log_and_what_it_repeats_are_left_out(kubectl, monkeypatch):
    refused = "The connection to the server localhost:8080 was refused"
    log = 'E1128 07:00:31.270661   32212 memcache.go:265] "Unhandled Error" err="connection refused"'
    monkeypatch.setenv("SAYS", "\n".join([log, log, refused, refused]))
    monkeypatch.setenv("FAILS", "1")
    with pytest.raises(ClusterError) as raised:
        run("status", "--recipe", str(RECIPE))
    assert raised.value.found == refused


def test_without_kubectl_manifests_can_still_be_printed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="kubectl was not found"):
        run("submit", "train", "--recipe", str(RECIPE))


@pytest.mark.parametrize(
    "arguments",
    [
        ("render", "train", "--step", "5"),
        ("render", "train", "--spark-submit", "https://a:1"),
        ("render", "data", "--spark-submit", "https://a:1"),
        ("render", "train", "--stage", "tokens"),
        ("render", "data", "--stage", "tokens", "--spark-submit", "https://a:1", "--output", "x"),
    ],
)
def test_options_of_another_part_are_refused(arguments):
    result = CliRunner().invoke(k8s, [*arguments, "--recipe", str(RECIPE)])
    assert result.exit_code == 2


def test_an_api_server_without_encryption_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="address of the API server"):
        run("render", "data", "--recipe", str(RECIPE), "--spark-submit", "http://10.0.0.1", "--output", str(tmp_path))


class Api(BaseHTTPRequestHandler):
    """The one request that the dispatcher makes, as the Kubernetes API answers it."""

    made: dict[str, Any] = {}
    refuse = ""

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/apis/batch/v1/namespaces/headwater/jobs?fieldValidation=Strict"
        assert self.headers["Authorization"] == "Bearer the-token"
        name = job["metadata"]["name"]
        status = 403 if self.refuse else 409 if name in self.made else 201
        self.made.setdefault(name, job)
        body = json.dumps({"kind": "Status", "message": self.refuse}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setattr(Api, "made", {})
    with HTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield ApiServer(f"http://127.0.0.1:{server.server_port}", "the-token", None)
        server.shutdown()


def finish(folder: Path, kind: str) -> None:
    writer = ArtifactWriter(folder, kind=kind, name="x", producer="test", config={}, parents={})
    writer.begin()
    writer.commit({}, files=[])


def job_text() -> str:
    return next(each["data"]["eval-job.json"] for each in case("eval") if "eval-job.json" in each.get("data", {}))


def test_each_finished_checkpoint_gets_one_job(api, tmp_path):
    layout = RunLayout(tmp_path)
    assert dispatch(layout, job_text(), api) == []  # training has not begun
    for step in (100, 200, 300):
        finish(layout.checkpoint(step), "checkpoint")
    layout.checkpoint(400).mkdir()  # being written
    finish(layout.eval_of(100), "eval")
    assert dispatch(layout, job_text(), api) == [200, 300]
    assert dispatch(layout, job_text(), api) == []
    assert set(Api.made) == {"llama-7b-eval-200", "llama-7b-eval-300"}


def test_a_refusal_of_the_api_server_is_passed_on(api, tmp_path, monkeypatch):
    monkeypatch.setattr(Api, "refuse", "jobs.batch is forbidden: exceeded quota")
    finish(RunLayout(tmp_path).checkpoint(100), "checkpoint")
    with pytest.raises(ClusterError) as raised:
        dispatch(RunLayout(tmp_path), job_text(), api)
    assert "exceeded quota" in str(raised.value.found)


def test_outside_of_a_pod_the_dispatcher_says_so(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="no pod with a service account"):
        ApiServer.of_pod()
