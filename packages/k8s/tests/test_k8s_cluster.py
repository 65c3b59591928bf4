"""What is rendered, run on a real cluster: an evicted training, and a Spark job with executors as pods.

    HEADWATER_CLUSTER=FOLDER python -m pytest -s packages/k8s/tests/test_k8s_cluster.py

prints what happened when. `cluster/README.md` says how to get the cluster.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact
from headwater.k8s import data, namespace, train
from headwater.k8s.pods import USER
from headwater.k8s.recipes import Recipe
from headwater.k8s.restarts import FAILED
from headwater.train.synthetic import make_tokenizer, make_tokens

sys.path.insert(0, str(Path(__file__).parent / "cluster"))

from cluster import SERVER, SOCKET, Cluster, missing

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(3600)]

SPACE = "headwater"
HEADWATER = (sys.executable, "-m", "headwater.core.cli")
STEPS = 400
WAIT_SECONDS = 1800
"""For a whole job, on a machine that has other things to do."""

CLUSTER = {
    "kind": "jobset", "nodes": 1, "gpus_per_node": 2, "cpu_only": True, "monitoring": False, "grace_seconds": 120,
    "resources": {"cpu": 1, "memory": "16Gi"}, "shared_memory": "1Gi",
    "spark": {"executors": 2, "driver": {"cpu": 1, "memory": "3Gi"}, "executor": {"cpu": 1, "memory": "3Gi"}},
}  # fmt: skip
TRAINING = {
    "mixture": {"weights": {"words": 1}},
    "train": {
        "model": {"dim": 32, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "ffn_dim": 64, "vocab_size": 64},
        "seq_len": 64, "global_batch": 4, "micro_batch": 2, "steps": STEPS, "threads": 1,
        "validation": {"every": 0}, "checkpoint": {"every": 10_000}, "parallel": {"dp_shard": 2},
    },
    "cluster": CLUSTER,
}  # fmt: skip
DOCUMENTS = {
    "name": "spark-pods", "seed": 3,
    "sources": {"code": {"kind": "tree", "paths": {"python://stdlib/": "{stdlib}"}, "date": "2026-01-01T00:00:00Z",
                         "include": ["json/*.py", "email/*.py", "http/*.py", "logging/*.py"]}},
    "documents": {"sources": {"code": ["extract", "pii"]}, "validation_ratio": 0.1, "decontaminate": None,
                  "engine": {"partition_bytes": 50_000}},
    "cluster": CLUSTER,
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        recipe = tmp_path_factory.mktemp("namespace") / "recipe.yaml"
        recipe.write_text(yaml.safe_dump({"name": "none", "cluster": CLUSTER}))
        started.apply(namespace.render(Recipe(recipe).cluster))
        yield started


def of_1_20(objects: list[dict[str, Any]], retries: int = 6) -> list[dict[str, Any]]:
    """What Kubernetes 1.20 can run of manifests for 1.31: a JobSet's Job, without what came later.

    Args:
        objects: The manifests.
        retries: How often the Job starts a pod again, which is the JobSet's part.
    """
    found: list[dict[str, Any]] = []
    for each in copy.deepcopy(objects):
        if each["kind"] == "PodDisruptionBudget":
            each["apiVersion"] = "policy/v1beta1"
            del each["spec"]["unhealthyPodEvictionPolicy"]
        if each["kind"] == "JobSet":
            job = each["spec"]["replicatedJobs"][0]["template"]["spec"]
            del job["podFailurePolicy"], job["completionMode"]
            job["backoffLimit"] = retries
            each = {"apiVersion": "batch/v1", "kind": "Job", "metadata": each["metadata"], "spec": job}
        found.append(each)
    return found


class Watch:
    """What happens to the pods of a run from now on, as the API server tells it; exit codes, as containerd does.

    This kubelet removes the containers of a deleted pod before it has read their exit codes, and reports 137 for them.

    Args:
        cluster: The cluster.
        run: The run's name.
    """

    def __init__(self, cluster: Cluster, run: str) -> None:
        self._start = time.monotonic()
        self._last: dict[str, str] = {}
        self._pods: dict[str, str] = {}  # container -> pod
        self.lines: list[str] = []
        self.logs: dict[str, Path] = {}
        self.exit_codes: dict[str, int] = {}
        self._cluster, self._run = cluster, run
        selector = f"labelSelector=app.kubernetes.io%2Finstance%3D{run}"
        path = f"/api/v1/namespaces/{SPACE}/pods?watch=true&{selector}"
        events = ["ctr", "--address", SOCKET, "--namespace", "k8s.io", "events"]
        self._processes: list[subprocess.Popen[str]] = []
        for command, see in ((["kubectl", "get", f"--raw={path}"], self._see_pod), (events, self._see_container)):
            process = self._open(*command, stdout=subprocess.PIPE)
            self._processes.append(process)
            threading.Thread(target=_read, args=(process, see), daemon=True).start()

    def _open(self, *command: str, stdout: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._cluster.command(*command), env=self._cluster.environment, stdout=stdout, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip

    def _see_pod(self, line: str) -> None:
        event = json.loads(line)
        pod = event["object"]
        name, status = pod["metadata"]["name"], pod["status"]
        what = status.get("phase", "")
        if "deletionTimestamp" in pod["metadata"]:
            what += ", terminating"
        for each in status.get("containerStatuses", []):
            if each.get("containerID"):
                self._pods[each["containerID"].removeprefix("containerd://")] = name
        if status.get("phase") == "Running" and name not in self.logs:
            self.logs[name] = self._cluster.state / f"pod-{name}.txt"
            with self.logs[name].open("w") as log:
                arguments = ["logs", "--follow", f"--namespace={SPACE}", name]
                self._processes.append(self._open("kubectl", *arguments, stdout=log))
        if event["type"] == "DELETED":
            what = "deleted"
        if self._last.get(name) != what:
            self._last[name] = what
            self.say(f"pod {name}: {what}")

    def _see_container(self, line: str) -> None:
        if " /tasks/exit " not in line:
            return
        event = json.loads(line[line.index("{") :])
        name = self._pods.get(event["id"])
        if name is not None:
            self.exit_codes[name] = event.get("exit_status", 0)
            self.say(f"container of {name}: ended with {self.exit_codes[name]}")

    def say(self, what: str) -> None:
        """Notes something with the time."""
        line = f"{time.monotonic() - self._start:7.1f} s  {what}"
        self.lines.append(line)
        print(line, flush=True)

    def close(self) -> None:
        """Ends the watch."""
        for process in self._processes:
            process.kill()
            process.wait()

    def said(self) -> str:
        """What happened, and what the pods said."""
        return "\n".join(
            [*self.lines, *(f"--- {name}\n{path.read_text()[-4000:]}" for name, path in self.logs.items())]
        )


def _read(process: subprocess.Popen[str], see: Callable[[str], None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        see(line)


def recipe_of(folder: Path, name: str, values: dict[str, Any], **cluster: Any) -> Recipe:
    path = folder / f"{name}-{len(list(folder.iterdir()))}.yaml"
    path.write_text(yaml.safe_dump(values | {"name": name, "cluster": CLUSTER | cluster}))
    return Recipe(path)


def own(folder: Path) -> None:
    """Gives a folder to the user of the images."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, USER, USER)


def state_of(cluster: Cluster, job: str) -> dict[str, Any]:
    return next(each for each in cluster.get("jobs", SPACE) if each["metadata"]["name"] == job)["status"]


def run_of(cluster: Cluster, name: str) -> RunLayout:
    run = RunLayout(cluster.storage / name)
    make_tokenizer(run, 64)
    make_tokens(run, "words", 400, vocab_size=64, seed=1)
    own(run.root)
    return run


def losses(run: RunLayout) -> bytes:
    path = run.train / "losses.jsonl"
    return path.read_bytes() if path.is_file() else b""


def steps(run: RunLayout) -> int:
    return losses(run).count(b"\n")


def evict(cluster: Cluster, pod: str) -> str:
    """Asks for an eviction as `kubectl drain` does; what the server said."""
    eviction = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": pod, "namespace": SPACE}}
    path = f"/api/v1/namespaces/{SPACE}/pods/{pod}/eviction"
    return cluster.call(
        "kubectl", "create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction), check=False
    ).strip()  # fmt: skip


def finish(cluster: Cluster, watch: Watch, job: str) -> None:
    def ended() -> bool:
        conditions = state_of(cluster, job).get("conditions", [])
        failed = [each for each in conditions if each["type"] == "Failed"]
        assert not failed, f"{failed}\n{watch.said()}"
        return any(each["type"] == "Complete" for each in conditions)

    cluster.until(ended, f"{job} has not ended", WAIT_SECONDS, watch.said)


def test_an_evicted_training_goes_on_exactly_where_it_stopped(cluster: Cluster, tmp_path: Path):
    calm, run = run_of(cluster, "calm"), run_of(cluster, "evicted")
    watch = Watch(cluster, "calm")
    cluster.apply(of_1_20(train.render(recipe_of(tmp_path, "calm", TRAINING))))
    finish(cluster, watch, "calm-train")
    watch.close()
    assert len(losses(calm).splitlines()) == STEPS

    watch = Watch(cluster, "evicted")
    cluster.apply(of_1_20(train.render(recipe_of(tmp_path, "evicted", TRAINING))))
    cluster.until(lambda: bool(watch.logs), "no pod runs", WAIT_SECONDS, watch.said)
    first = next(iter(watch.logs))
    # As rendered, the disruption budget holds the eviction up; `evictable` lets it through.
    cluster.until(lambda: _allowed(cluster) == 0, "the budget is not watched")
    refused = evict(cluster, first)
    watch.say(f"eviction with minAvailable 1: {refused}")
    assert "violate the pod's disruption budget" in refused
    cluster.apply(of_1_20(train.render(recipe_of(tmp_path, "evicted", TRAINING, evictable=True)))[-1:])
    cluster.until(lambda: _allowed(cluster) == 1, "the budget has not changed")
    cluster.until(lambda: steps(run) >= 20, "no step", WAIT_SECONDS, watch.said)
    watch.say(f"{steps(run)} steps are done")
    granted = evict(cluster, first)
    watch.say(f"eviction with minAvailable 0: {granted}")
    cluster.until(lambda: first in watch.exit_codes, "the pod has not ended", 130, watch.said)
    stopped = steps(run)
    watch.say(f"stopped after step {stopped}, with a checkpoint: {is_artifact(run.checkpoint(stopped))}")
    assert watch.exit_codes[first] == 75, watch.said()
    assert 20 <= stopped < STEPS and is_artifact(run.checkpoint(stopped))

    finish(cluster, watch, "evicted-train")
    watch.close()
    assert set(watch.logs) > {first}, watch.said()
    assert is_artifact(run.train)
    assert losses(run) == losses(calm)
    watch.say(f"losses.jsonl: SHA-256 {hashlib.sha256(losses(run)).hexdigest()[:16]}… in both runs")
    print(watch.said())


def _allowed(cluster: Cluster) -> int:
    """How many evictions the run's budget allows now; -1: nobody has looked at it yet."""
    budget = next(
        each for each in cluster.get("poddisruptionbudgets", SPACE) if each["metadata"]["name"] == "evicted-train"
    )
    seen = budget.get("status", {})
    current = seen.get("observedGeneration") == budget["metadata"]["generation"] and seen.get("expectedPods") == 1
    return seen["disruptionsAllowed"] if current else -1


def test_a_bug_ends_with_its_own_exit_code_and_says_what_it_was(cluster: Cluster, tmp_path: Path):
    """Not 75, by which a JobSet tells evictions; the Job is as rendered, which does not start it again."""
    run = run_of(cluster, "bug")
    shutil.rmtree(run.tokens("words"))
    watch = Watch(cluster, "bug")
    cluster.apply(of_1_20(train.render(recipe_of(tmp_path, "bug", TRAINING)), retries=0))

    def failed() -> bool:
        conditions = state_of(cluster, "bug-train").get("conditions", [])
        return any(each["type"] == "Failed" for each in conditions)

    cluster.until(failed, "the Job has not failed", WAIT_SECONDS, watch.said)
    watch.close()
    (pod,) = cluster.get("pods", SPACE, "app.kubernetes.io/instance=bug")
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    watch.say(f"the pod's status: exit code {ended['exitCode']}, {ended['message'].strip().splitlines()}")
    assert ended["exitCode"] in FAILED, watch.said()
    assert "error:" in ended["message"] and "tokens" in ended["message"]


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_spark_with_an_evicted_executor_makes_the_documents_of_the_local_engine(cluster: Cluster, tmp_path: Path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({key: value for key, value in DOCUMENTS.items() if key != "cluster"}))
    local, run = tmp_path / "local", cluster.storage / "spark-pods"
    subprocess.run([*HEADWATER, "data", "collect", "--recipe", recipe, "--run", run], check=True)
    shutil.copytree(run, local)
    own(run)
    here = subprocess.Popen([*HEADWATER, "data", "run", "--recipe", recipe, "--run", local])

    written = recipe_of(tmp_path, "spark-pods", DOCUMENTS)
    for path in data.write_spark_submit(tmp_path / "spark", written, SERVER):
        if path.suffix == ".yaml" and path.stem not in ("driver", "executor"):
            cluster.apply(list(yaml.safe_load_all(path.read_text())))
    submit = tmp_path / "spark" / "submit.sh"
    # Three pods of a whole core each do not fit into two cores. 1.20 refuses the driver's Service as Spark 4 sends it
    # (server-side apply of a port without protocol): executors reach the driver by its address.
    step = "org.apache.spark.deploy.k8s.features.DriverServiceFeatureStep"
    shares = [f"--conf spark.kubernetes.{role}.request.cores=500m" for role in ("driver", "executor")]
    shares.append(f"--conf spark.kubernetes.driver.pod.excludedFeatureSteps={step}")
    submit.write_text(submit.read_text().replace("  local://", f"  {' '.join(shares)} \\\n  local://"))
    watch = Watch(cluster, "spark-pods")
    environment = cluster.environment
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    said = tmp_path / "submit.log"
    with said.open("w") as log:
        submitted = subprocess.Popen(
            cluster.command("bash", str(submit)), env=environment, stdout=log, stderr=log, cwd=tmp_path
        )

    def executors() -> list[str]:
        return [name for name in watch.logs if "-exec-" in name]

    def at_work() -> bool:
        assert submitted.poll() is None, f"{said.read_text()[-6000:]}\n{watch.said()}"
        return len(executors()) == 2 and all("Finished task" in watch.logs[each].read_text() for each in executors())

    cluster.until(at_work, "the executors do nothing", WAIT_SECONDS, watch.said)
    first = executors()[0]
    watch.say(f"eviction of {first}: {evict(cluster, first)}")
    assert submitted.wait() == 0, f"{said.read_text()[-6000:]}\n{watch.said()}"
    watch.close()
    assert here.wait() == 0
    assert len(executors()) == 3, watch.said()
    assert "decommission" in watch.logs[first].read_text().lower(), watch.said()
    assert digests(run / "documents") == digests(local / "documents")
    whole = hashlib.sha256(json.dumps(digests(run / "documents"), sort_keys=True).encode()).hexdigest()
    watch.say(f"{len(digests(run / 'documents'))} files of documents, alike; SHA-256 of their digests {whole[:16]}…")
    print(watch.said())
