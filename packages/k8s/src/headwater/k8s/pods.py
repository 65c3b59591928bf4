"""Pods that Pod Security's "restricted" profile admits, with the run's storage, the recipe and /dev/shm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headwater.k8s.config import Cluster, Resources
from headwater.k8s.naming import labels, of_run
from headwater.k8s.quantities import value_of
from headwater.k8s.restarts import CONTAINER

USER = 10001
"""User and group of the images; files on the storage belong to the group."""

FILES_FOLDER = "/etc/headwater"
RECIPE = f"{FILES_FOLDER}/recipe.yaml"

WORKER_ACCOUNT = "headwater-worker"
"""Service account of pods that do not talk to Kubernetes."""

PRODUCT = "nvidia.com/gpu.product"
"""Node label of GPU feature discovery."""

METRICS = "metrics"
METRICS_PORT = 9464
METRICS_HOST = "0.0.0.0"  # noqa: S104 (the pod's own; a network policy lets in Prometheus alone)
"""Where pods serve their metrics; everywhere else it is loopback."""

Object = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """What a stage's pod is to be.

    Attributes:
        run: The run's name.
        component: The stage: train, data or eval.
        image: Of its container.
        command: What it runs.
        resources: CPU and memory.
        gpus: How many GPUs.
        shares_memory: Whether it has /dev/shm of the size that the cluster's section says.
        env: Name → value, or a `valueFrom`.
        files: Names of ConfigMaps whose files are in `FILES_FOLDER`: the recipe's; none: they are added elsewhere.
        account: Its service account.
        token: Whether the account's token is mounted.
        priority: Its PriorityClass.
        annotations: Of the pod.
        serves: Whether it serves metrics, on `METRICS_PORT`.
    """

    run: str
    component: str
    image: str
    command: Sequence[str]
    resources: Resources
    gpus: int = 0
    shares_memory: bool = False
    env: Mapping[str, str | Object] = field(default_factory=dict[str, "str | Object"])
    files: Sequence[str] = ()
    account: str = WORKER_ACCOUNT
    token: bool = False
    priority: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    serves: bool = False


def template(cluster: Cluster, pod: Pod) -> Object:
    """A pod template."""
    metadata: Object = {"labels": labels(pod.run, pod.component)}
    if pod.annotations:
        metadata["annotations"] = dict(pod.annotations)
    return {"metadata": metadata, "spec": spec(cluster, pod)}


def spec(cluster: Cluster, pod: Pod) -> Object:
    """A pod's specification."""
    found: Object = {
        "restartPolicy": "Never",
        "serviceAccountName": pod.account,
        "automountServiceAccountToken": pod.token,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": cluster.grace_seconds,
        "securityContext": pod_security(),
        "containers": [container(cluster, pod)],
        "volumes": volumes(cluster, pod.files, shared_memory=pod.shares_memory),
    }
    if pod.component != "train":
        # Else the command is process 1, which ends at SIGTERM only where it says so itself (signal(7)).
        found["shareProcessNamespace"] = True
    if pod.gpus and cluster.gpu.runtime_class:
        found["runtimeClassName"] = cluster.gpu.runtime_class
    if pod.priority:
        found["priorityClassName"] = pod.priority
    if cluster.scheduler and pod.component == "train":
        found["schedulerName"] = cluster.scheduler
    return found | placement(cluster, gpus=pod.gpus > 0)


def container(cluster: Cluster, pod: Pod) -> Object:
    """A pod's one container."""
    found: Object = {
        "name": CONTAINER,
        "image": pod.image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(pod.command),
        "env": variables(BASE_ENV | dict(pod.env)),
        "resources": limits(cluster, pod.resources, pod.gpus, rdma=pod.component == "train"),
        "terminationMessagePolicy": "FallbackToLogsOnError",  # `kubectl describe` says why it ended
        "securityContext": container_security(),
        "volumeMounts": mounts(cluster, files=bool(pod.files), shared_memory=pod.shares_memory),
    }
    if pod.serves:
        found["ports"] = [metrics_port()]
    if cluster.storage.credentials:
        found["envFrom"] = [{"secretRef": {"name": cluster.storage.credentials}}]
    return found


def metrics_port() -> Object:
    """The port of a container by which the PodMonitor finds it."""
    return {"name": METRICS, "containerPort": METRICS_PORT}


def metrics_flags(cluster: Cluster) -> list[str]:
    """What a command is given to serve its metrics, where there is a Prometheus."""
    return ["--metrics-port", str(METRICS_PORT), "--metrics-host", METRICS_HOST] if cluster.monitoring else []


BASE_ENV: dict[str, str | Object] = {
    # The root file system is read-only: caches go where something may be written.
    "HOME": "/tmp",  # noqa: S108 (a volume of the pod's own)
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}


def threads(resources: Resources, processes: int = 1) -> dict[str, str]:
    """Threads of torch in each process: else it starts one a core of the node, whatever the pod may use.

    Args:
        resources: Of the pod.
        processes: How many share them.
    """
    return {"OMP_NUM_THREADS": str(max(1, int(value_of(resources.cpu) / processes)))}


def variables(values: Mapping[str, str | Object]) -> list[Object]:
    """Environment variables as a container has them."""
    return [
        {"name": name, "value": value} if isinstance(value, str) else {"name": name, "valueFrom": value}
        for name, value in values.items()
    ]


def pod_security() -> Object:
    """`securityContext` of a pod under the restricted profile."""
    return {
        "runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
        # Else the kubelet walks every file of the storage each time a pod starts.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip


def container_security() -> Object:
    """`securityContext` of a container under the restricted profile."""
    return {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


def limits(cluster: Cluster, resources: Resources, gpus: int, *, rdma: bool = False) -> Object:
    """Requests and limits, alike: the pod is Guaranteed, so the node's kubelet evicts it last."""
    found = {"cpu": resources.cpu, "memory": resources.memory}
    if gpus:
        found[cluster.gpu.resource] = str(gpus)
    if rdma and cluster.network.rdma:
        found[cluster.network.rdma] = str(cluster.network.rdma_count)
    return {"requests": dict(found), "limits": found}


def volumes(cluster: Cluster, files: Sequence[str], *, shared_memory: bool) -> list[Object]:
    """Volumes: the storage, /tmp, files of ConfigMaps where they are known, and /dev/shm of a training."""
    found: list[Object] = [
        {"name": "runs", "persistentVolumeClaim": {"claimName": cluster.storage.claim}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "50Gi"}},
    ]
    if shared_memory:
        found.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": cluster.shared_memory}})
    return [*found, files_volume(files)] if files else found


def mounts(cluster: Cluster, *, files: bool, shared_memory: bool) -> list[Object]:
    """Where the volumes are mounted."""
    found: list[Object] = [
        {"name": "runs", "mountPath": cluster.storage.path},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 (the pod's own)
    ]
    if shared_memory:
        found.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108 (the pod's own)
    return [*found, FILES_MOUNT] if files else found


def files_volume(config_maps: Sequence[str]) -> Object:
    """The volume with the recipe, and what else a pod reads of ConfigMaps."""
    if len(config_maps) == 1:
        return {"name": "files", "configMap": {"name": config_maps[0]}}
    return {"name": "files", "projected": {"sources": [{"configMap": {"name": name}} for name in config_maps]}}


FILES_MOUNT: Object = {"name": "files", "mountPath": FILES_FOLDER, "readOnly": True}


def placement(cluster: Cluster, *, gpus: bool) -> Object:
    """Which nodes a pod may be on."""
    selector = dict(cluster.node_selector)
    tolerate = list(cluster.tolerate)
    if gpus:
        tolerate = list(dict.fromkeys([cluster.gpu.resource, *tolerate]))
        if cluster.gpu.product:
            selector[PRODUCT] = cluster.gpu.product
    found: Object = {}
    if selector:
        found["nodeSelector"] = selector
    if tolerate:
        found["tolerations"] = [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in tolerate]
    return found


def together(cluster: Cluster, run: str) -> Object:
    """The wish that a training's pods share a rack or a block, where Kueue does not see to it."""
    if cluster.topology is None or cluster.queue is not None:
        return {}
    term = {"labelSelector": {"matchLabels": of_run(run, "train")}, "topologyKey": cluster.topology}
    wish = {"weight": 100, "podAffinityTerm": term}
    return {"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}}
