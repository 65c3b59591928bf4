"""The pods of a rendered training, run as the kubelet would run them: two nodes, one of which is evicted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.core.layout import RunLayout
from headwater.core.manifest import is_artifact
from headwater.core.ports import free_port
from headwater.k8s import train
from headwater.k8s.recipes import Recipe
from headwater.train.parity.launch import Job, launch
from headwater.train.synthetic import make_tokenizer, make_tokens

STEPS = 60
RECIPE = {
    "name": "two-nodes",
    "mixture": {"weights": {"words": 1}},
    "train": {
        "model": {"dim": 32, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "ffn_dim": 64, "vocab_size": 64},
        "seq_len": 64, "global_batch": 4, "micro_batch": 2, "steps": STEPS, "threads": 1,
        "validation": {"every": 0}, "checkpoint": {"every": 50}, "parallel": {"dp_shard": 2},
    },
    "cluster": {
        "kind": "jobset", "nodes": 2, "gpus_per_node": 1, "cpu_only": True, "monitoring": False,
        "resources": {"cpu": 1, "memory": "16Gi"}, "shared_memory": "1Gi",
    },
}  # fmt: skip


class Cluster:
    """Starts a JobSet's pods as processes: what a kubelet, DNS and a mounted ConfigMap would do, and no more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = RunLayout(folder / "runs" / "two-nodes")
        make_tokenizer(self.run, 64)
        make_tokens(self.run, "words", 400, vocab_size=64, seed=1)
        recipe = RECIPE | {"cluster": RECIPE["cluster"] | {"storage": {"path": str(folder / "runs")}}}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        objects = train.render(Recipe(folder / "recipe.yaml"))
        self.jobset = next(each for each in objects if each["kind"] == "JobSet")
        mounted = yaml.safe_load(next(each for each in objects if each["kind"] == "ConfigMap")["data"]["recipe.yaml"])
        mounted["train"]["metrics"] = {}  # the port is the pod's own; here it would be the machine's
        (folder / "mounted.yaml").write_text(yaml.safe_dump(mounted))

    def start(self) -> list[subprocess.Popen[str]]:
        job = self.jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
        container: dict[str, Any] = job["template"]["spec"]["containers"][0]
        port = free_port()
        pods: list[subprocess.Popen[str]] = []
        for index in range(job["parallelism"]):
            environment = {each["name"]: each.get("value", str(index)) for each in container["env"]}
            environment |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
            command = [str(self.folder / "mounted.yaml") if each == "/etc/headwater/recipe.yaml" else each
                       for each in container["command"]]  # fmt: skip
            headwater = [sys.executable, "-m", "headwater.core.cli"]
            at = command.index("--") + 1
            command = [*headwater, *command[1:at], *headwater, *command[at + 1 :]]
            log = (self.folder / f"pod-{index}.log").open("a")
            pods.append(subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log, text=True))
        return pods

    def finish(self, pods: list[subprocess.Popen[str]]) -> list[int]:
        codes = [pod.wait(timeout=600) for pod in pods]
        for pod in pods:
            pod.kill()
        return codes

    def losses(self) -> list[dict[str, Any]]:
        path = self.run.train / "losses.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def said(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("pod-*.log")))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # four processes import torch
def test_an_eviction_of_one_pod_checkpoints_all_and_the_next_try_ends_the_same(tmp_path):
    calm, evicted = tmp_path / "calm", tmp_path / "evicted"
    calm.mkdir()
    evicted.mkdir()
    reference = Cluster(calm)  # its data and its recipe; two processes are all that its pods would be
    assert launch([Job(calm / "mounted.yaml", reference.run.root, ())], 2, calm / "log.txt") == {}

    cluster = Cluster(evicted)
    pods = cluster.start()
    end = time.monotonic() + 600
    while len(cluster.losses()) < 5:
        assert time.monotonic() < end and all(pod.poll() is None for pod in pods), cluster.said()
        time.sleep(0.05)
    pods[1].send_signal(signal.SIGTERM)  # one node is drained; the other is told by its peer
    assert cluster.finish(pods) == [75, 75], cluster.said()
    done = len(cluster.losses())
    assert 5 <= done < STEPS
    assert is_artifact(cluster.run.checkpoint(done))

    assert cluster.finish(cluster.start()) == [0, 0], cluster.said()  # as the JobSet starts all pods again
    assert is_artifact(cluster.run.train)
    told = ("step", "loss", "grad_norm", "samples")
    assert [[row[key] for key in told] for row in cluster.losses()] == [
        [row[key] for key in told] for row in reference.losses()
    ]
