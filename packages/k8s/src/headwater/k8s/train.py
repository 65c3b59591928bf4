"""A training as manifests: a TrainJob over JobSet, a plain JobSet, or a PyTorchJob."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headwater.core.console import warn
from headwater.core.objects import join
from headwater.k8s import restarts
from headwater.k8s.config import Cluster
from headwater.k8s.fit import require_fit
from headwater.k8s.naming import COMPONENT, PART_OF, labels, of_run
from headwater.k8s.network import of_training as network_of_training
from headwater.k8s.pods import (
    FILES_MOUNT,
    METRICS_HOST,
    METRICS_PORT,
    RECIPE,
    Object,
    Pod,
    files_volume,
    limits,
    metrics_port,
    template,
    threads,
    together,
    variables,
)
from headwater.k8s.recipes import Recipe

MASTER_PORT = 29500
GANG_SECONDS = 300
"""How long a gang's pods may wait for one another before they give their nodes back."""

SHARED_RUNTIME = "headwater"
"""Name of the ClusterTrainingRuntime."""

_INDEX = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}
_PODS = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}


def render(recipe: Recipe) -> list[Object]:
    """Everything that a training of a recipe needs in its namespace.

    Raises:
        ConfigError: The recipe is wrong, or the training does not fit the cluster.
    """
    cluster, run = recipe.cluster, recipe.run
    require_fit(recipe.section("train"), cluster, vocabulary_of(recipe))
    section = recipe.section("train").model_dump(mode="json")
    if cluster.monitoring:
        section["metrics"] = section["metrics"] | {"prometheus": {"host": METRICS_HOST, "port": METRICS_PORT}}
    if "respond" not in _given(recipe.values["train"], "guard", "stall"):
        section["guard"]["stall"]["respond"] = "exit"  # and the pods start again
    section["device"] = "cpu" if cluster.cpu_only else "cuda"
    if cluster.storage.mirror:
        section["checkpoint"]["mirror"] = join(cluster.storage.mirror, run)
    if _given(recipe.values, "eval", "every"):
        warn("eval.every: on a cluster each checkpoint is evaluated by a Job of its own (headwater k8s render eval)")
    config = recipe.for_stage("train", train=section)
    how = {"trainjob": _trainjob, "jobset": _jobset, "pytorchjob": _pytorchjob}[cluster.kind]
    objects = [config, network_of_training(cluster, run), *how(recipe, config["metadata"]["name"])]
    return [*objects, _disruption_budget(cluster, run)]


def _given(section: Any, *keys: str) -> Any:
    """What a recipe has under some keys; an empty mapping when it has nothing."""
    for key in keys:
        section = (section or {}).get(key)
    return section or {}


def vocabulary_of(recipe: Recipe) -> int | None:
    """Entries of the tokenizer, where the recipe says how many."""
    size = recipe.section("tokenizer").vocab_size if "tokenizer" in recipe.values else None
    return recipe.section("train").model.vocab_size or size


def runtime(cluster: Cluster, name: str, marks: Mapping[str, str]) -> Object:
    """How trainings run on a cluster, for TrainJobs to refer to.

    Args:
        cluster: The `cluster` section.
        name: The object's name.
        marks: Its labels.
    """
    spec: Object = {"mlPolicy": {"numNodes": cluster.nodes, "torch": {}}}
    if cluster.gang == "coscheduling":
        spec["podGroupPolicy"] = {"coscheduling": {"scheduleTimeoutSeconds": GANG_SECONDS}}
    pod = template(cluster, _pod(cluster, "", files=(), command=["headwater", "--help"]))
    pod["metadata"] = {"labels": {**PART_OF, COMPONENT: "train"}}  # the TrainJob adds the run's
    pod["spec"]["containers"][0]["ports"] = [metrics_port()]
    spec["template"] = {"spec": _jobset_spec(cluster, pod, replicas_of=None)}
    metadata: Object = {"name": name, "labels": {**marks, "trainer.kubeflow.org/framework": "torch"}}
    if cluster.runtime == "TrainingRuntime":
        metadata["namespace"] = cluster.namespace
    return {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": cluster.runtime, "metadata": metadata, "spec": spec}


def _trainjob(recipe: Recipe, config: str) -> list[Object]:
    cluster, run = recipe.cluster, recipe.run
    name = f"{run}-train"
    own = cluster.runtime == "TrainingRuntime"
    pod_patch: Object = {
        "metadata": {"labels": labels(run, "train")},
        "spec": {
            "containers": [{"name": restarts.CONTAINER, "volumeMounts": [FILES_MOUNT]}],
            "volumes": [files_volume([config])],
        } | together(cluster, run),
    }  # fmt: skip
    if annotations := _annotations(cluster):
        pod_patch["metadata"]["annotations"] = annotations
    replicated = {"name": restarts.CONTAINER, "template": {"spec": {"template": pod_patch}}}
    spec: Object = {
        "runtimeRef": {
            "apiGroup": "trainer.kubeflow.org", "kind": cluster.runtime, "name": name if own else SHARED_RUNTIME,
        },
        "trainer": {
            "image": cluster.images.train,
            "command": _command(recipe),
            "numNodes": cluster.nodes,
            "numProcPerNode": cluster.gpus_per_node,
            "resourcesPerNode": limits(cluster, cluster.resources, _gpus(cluster), rdma=True),
        },
        "runtimePatches": [
            {"manager": "headwater", "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [replicated]}}}}
        ],
    }  # fmt: skip
    if not own:
        spec["trainer"]["env"] = variables(_environment(cluster))  # the shared runtime may be of another recipe
    if cluster.deadline_seconds:
        spec["activeDeadlineSeconds"] = cluster.deadline_seconds
    job = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "metadata": _metadata(cluster, run),
        "spec": spec,
    }  # fmt: skip
    return [runtime(cluster, name, labels(run, "train")), job] if own else [job]


def _jobset(recipe: Recipe, config: str) -> list[Object]:
    cluster, run = recipe.cluster, recipe.run
    name = f"{run}-train"
    rendezvous: dict[str, str | Object] = {
        "PET_NNODES": str(cluster.nodes), "PET_NODE_RANK": _INDEX,
        "PET_MASTER_ADDR": f"{name}-{restarts.CONTAINER}-0-0.{name}", "PET_MASTER_PORT": str(MASTER_PORT),
    }  # fmt: skip
    pod = template(cluster, _pod(cluster, run, files=[config], command=_command(recipe), env=rendezvous))
    pod["spec"]["containers"][0]["ports"] = [metrics_port(), {"name": "rendezvous", "containerPort": MASTER_PORT}]
    pod["spec"] |= together(cluster, run)
    if cluster.gang == "coscheduling":
        pod["metadata"]["labels"]["scheduling.x-k8s.io/pod-group"] = name
    job = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": _metadata(cluster, run),
        "spec": _jobset_spec(cluster, pod, replicas_of=cluster.nodes),
    }  # fmt: skip
    return [*_pod_group(cluster, run), job]


def _jobset_spec(cluster: Cluster, pod: Object, *, replicas_of: int | None) -> Object:
    """A JobSet of one Job with a pod a node.

    Args:
        cluster: The `cluster` section.
        pod: Its pod template.
        replicas_of: How many pods; none: Kubeflow Trainer fills it in.
    """
    job: Object = {
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": restarts.of_training(),
        "template": pod,
    }
    if replicas_of is not None:
        job |= {"parallelism": replicas_of, "completions": replicas_of}
        if cluster.deadline_seconds:
            job["activeDeadlineSeconds"] = cluster.deadline_seconds
    return {
        "failurePolicy": restarts.of_jobset(cluster.max_restarts),
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "replicatedJobs": [
            {"name": restarts.CONTAINER, "replicas": 1, "template": {"metadata": {"labels": _PODS}, "spec": job}}
        ],
    }


def _pytorchjob(recipe: Recipe, config: str) -> list[Object]:
    """The legacy operator restarts by exit codes of its own: from 128 on it starts a pod again, below it gives up."""
    cluster, run = recipe.cluster, recipe.run
    again = 128 + 15  # as of a process that SIGTERM ended
    pod = template(cluster, _pod(cluster, run, files=[config], command=_command(recipe, again=again)))
    container: Object = pod["spec"]["containers"][0]
    # What the operator takes its settings from has to have this name.
    container["name"] = "pytorch"
    container["ports"] = [metrics_port(), {"name": "pytorchjob-port", "containerPort": MASTER_PORT}]
    del pod["spec"]["restartPolicy"]
    pod["spec"] |= together(cluster, run)
    policy: Object = {"cleanPodPolicy": "Running", "backoffLimit": cluster.max_restarts}
    if cluster.deadline_seconds:
        policy["activeDeadlineSeconds"] = cluster.deadline_seconds
    if cluster.gang == "coscheduling":
        policy["schedulingPolicy"] = {"minAvailable": cluster.nodes, "scheduleTimeoutSeconds": GANG_SECONDS}
    replicas: Object = {"Master": {"replicas": 1, "restartPolicy": "ExitCode", "template": pod}}
    if cluster.nodes > 1:
        replicas["Worker"] = {"replicas": cluster.nodes - 1, "restartPolicy": "ExitCode", "template": pod}
    job = {
        "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": _metadata(cluster, run),
        "spec": {
            "nprocPerNode": str(cluster.gpus_per_node), "runPolicy": policy, "pytorchReplicaSpecs": replicas,
        },
    }  # fmt: skip
    return [job]


def _pod(
    cluster: Cluster,
    run: str,
    *,
    files: Sequence[str],
    command: list[str],
    env: Mapping[str, str | Object] | None = None,
) -> Pod:
    return Pod(
        run=run, component="train", image=cluster.images.train, command=command, resources=cluster.resources,
        gpus=_gpus(cluster), shares_memory=True, env=_environment(cluster) | dict(env or {}), files=files,
        priority=cluster.priority, annotations=_annotations(cluster),
    )  # fmt: skip


def _command(recipe: Recipe, again: int | None = None) -> list[str]:
    cluster = recipe.cluster
    launch = ["headwater", "k8s", "launch", "--processes", str(cluster.gpus_per_node)]
    if again is not None:
        launch += ["--again-code", str(again)]
    return [*launch, "--", "headwater", "train", "run", "--recipe", RECIPE, "--run", recipe.folder]


def _gpus(cluster: Cluster) -> int:
    return 0 if cluster.cpu_only else cluster.gpus_per_node


def _environment(cluster: Cluster) -> dict[str, str | Object]:
    network = cluster.network
    found: dict[str, str | Object] = {
        **threads(cluster.resources, cluster.gpus_per_node),
        "TORCHINDUCTOR_CACHE_DIR": "/tmp/inductor", "TRITON_CACHE_DIR": "/tmp/triton",  # noqa: S108 (the pod's own)
    }  # fmt: skip
    if not cluster.cpu_only:
        found |= {
            "PYTORCH_ALLOC_CONF": "expandable_segments:True",
            "NCCL_DEBUG": "WARN",
            "NCCL_IB_DISABLE": "0" if network.rdma else "1",
        }
        if network.rdma and network.hca:
            found["NCCL_IB_HCA"] = network.hca
        if network.gid_index is not None:
            found["NCCL_IB_GID_INDEX"] = str(network.gid_index)
        if network.interface:
            found["NCCL_SOCKET_IFNAME"] = network.interface
    if network.interface and not network.interface.startswith("^"):  # gloo knows no "all but"
        found["GLOO_SOCKET_IFNAME"] = network.interface.removeprefix("=")
    return found | dict(network.env)


def _annotations(cluster: Cluster) -> dict[str, str]:
    found = dict(cluster.network.annotations)
    if cluster.topology and cluster.queue:
        found["kueue.x-k8s.io/podset-preferred-topology"] = cluster.topology
    return found


def _metadata(cluster: Cluster, run: str) -> dict[str, Any]:
    found = labels(run, "train")
    if cluster.queue:
        found["kueue.x-k8s.io/queue-name"] = cluster.queue
    return {"name": f"{run}-train", "namespace": cluster.namespace, "labels": found}


def _pod_group(cluster: Cluster, run: str) -> list[Object]:
    if cluster.gang != "coscheduling":
        return []
    return [{
        "apiVersion": "scheduling.x-k8s.io/v1alpha1", "kind": "PodGroup",
        "metadata": {"name": f"{run}-train", "namespace": cluster.namespace, "labels": labels(run, "train")},
        "spec": {"minMember": cluster.nodes, "scheduleTimeoutSeconds": GANG_SECONDS},
    }]  # fmt: skip


def _disruption_budget(cluster: Cluster, run: str) -> Object:
    """A whole number of pods: a percentage needs a controller with a scale, which a Job has not."""
    return {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": f"{run}-train", "namespace": cluster.namespace, "labels": labels(run, "train")},
        "spec": {
            "minAvailable": cluster.nodes - (1 if cluster.evictable else 0),
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": of_run(run, "train")},
        },
    }  # fmt: skip
