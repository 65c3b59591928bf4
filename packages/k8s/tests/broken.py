"""Manifests broken in one place each, and what the API server says of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Manifest = dict[str, Any]


def _at(manifest: Manifest, path: str) -> tuple[Any, Any]:
    *parents, last = [int(part) if part.isdecimal() else part for part in path.split("/")]
    here: Any = manifest
    for part in parents:
        here = here[part]
    return here, last


def put(path: str, value: Any) -> Callable[[Manifest], None]:
    def change(manifest: Manifest) -> None:
        here, last = _at(manifest, path)
        here[last] = value

    return change


def drop(path: str) -> Callable[[Manifest], None]:
    def change(manifest: Manifest) -> None:
        here, last = _at(manifest, path)
        del here[last]

    return change


TRAINJOB_POD = "spec/runtimePatches/0/trainingRuntimeSpec/template/spec/replicatedJobs/0/template/spec/template"
JOB = "spec/replicatedJobs/0/template/spec"
RUNTIME_JOB = "spec/template/spec/replicatedJobs/0/template/spec"

BROKEN: dict[str, tuple[str, str, Callable[[Manifest], None], str]] = {
    "TrainJob: a misspelt field": (
        "trainjob",
        "TrainJob",
        put("spec/trainer/numNode", 8),
        'unknown field "spec.trainer.numNode"',
    ),
    "TrainJob: the field of 2.1, podTemplateOverrides": (
        "trainjob",
        "TrainJob",
        put("spec/podTemplateOverrides", []),
        'unknown field "spec.podTemplateOverrides"',
    ),
    "TrainJob: numProcPerNode of 1.x, auto": (
        "trainjob",
        "TrainJob",
        put("spec/trainer/numProcPerNode", "auto"),
        "must be of type integer",
    ),
    "TrainJob: no runtime": ("trainjob", "TrainJob", drop("spec/runtimeRef"), "spec.runtimeRef: Required value"),
    "TrainJob: a bad memory quantity": (
        "trainjob",
        "TrainJob",
        put("spec/trainer/resourcesPerNode/limits/memory", "64GB"),
        "should match",
    ),
    "TrainJob: a priority class in a patch": (
        "trainjob",
        "TrainJob",
        put(f"{TRAINJOB_POD}/spec/priorityClassName", "high"),
        "unknown field",
    ),
    "TrainJob: managed by somebody else": ("trainjob", "TrainJob", put("spec/managedBy", "me"), "ManagedBy must be"),
    "TrainJob: a name that is no DNS label": (
        "trainjob",
        "TrainJob",
        put("metadata/name", "Llama_7B"),
        "metadata.name",
    ),
    "TrainJob: a deadline of no time": (
        "trainjob",
        "TrainJob",
        put("spec/activeDeadlineSeconds", 0),
        "should be greater than or equal to 1",
    ),
    "TrainingRuntime: numProcPerNode in the torch policy": (
        "trainjob",
        "TrainingRuntime",
        put("spec/mlPolicy/torch/numProcPerNode", 8),
        "unknown field",
    ),
    "TrainingRuntime: two ML policies": (
        "trainjob",
        "TrainingRuntime",
        put("spec/mlPolicy/mpi", {"mpiImplementation": "OpenMPI"}),
        "Only one of the policy can be configured",
    ),
    "TrainingRuntime: no container name": (
        "trainjob",
        "TrainingRuntime",
        drop(f"{RUNTIME_JOB}/template/spec/containers/0/name"),
        "name: Required value",
    ),
    "JobSet: an unknown restart strategy": (
        "jobset",
        "JobSet",
        put("spec/failurePolicy/restartStrategy", "Blocking"),
        'Unsupported value: "Blocking"',
    ),
    "JobSet: an unknown failure action": (
        "jobset",
        "JobSet",
        put("spec/failurePolicy/rules/0/action", "Restart"),
        'Unsupported value: "Restart"',
    ),
    "JobSet: a rule without action": (
        "jobset",
        "JobSet",
        drop("spec/failurePolicy/rules/1/action"),
        "action: Required value",
    ),
    "JobSet: fractional parallelism": ("jobset", "JobSet", put(f"{JOB}/parallelism", 8.5), "must be of type integer"),
    "JobSet: a misspelt security context": (
        "jobset",
        "JobSet",
        put(f"{JOB}/template/spec/securityContext/runAsNonroot", True),
        "unknown field",
    ),
    "JobSet: two jobs of one name": (
        "jobset",
        "JobSet",
        lambda m: m["spec"]["replicatedJobs"].append(copy.deepcopy(m["spec"]["replicatedJobs"][0])),
        "Duplicate value",
    ),
    "PyTorchJob: a restart policy that is a number": (
        "pytorchjob",
        "PyTorchJob",
        put("spec/pytorchReplicaSpecs/Master/restartPolicy", 1),
        "must be of type string",
    ),
    "PyTorchJob: no replicas": (
        "pytorchjob",
        "PyTorchJob",
        drop("spec/pytorchReplicaSpecs"),
        "spec.pytorchReplicaSpecs: Required value",
    ),
    "PyTorchJob: a misspelt limit": (
        "pytorchjob",
        "PyTorchJob",
        put("spec/runPolicy/backofflimit", 3),
        "unknown field",
    ),
    "SparkApplication: an unknown language": (
        "data",
        "SparkApplication",
        put("spec/type", "Ruby"),
        'Unsupported value: "Ruby"',
    ),
    "SparkApplication: no version": (
        "data",
        "SparkApplication",
        drop("spec/sparkVersion"),
        "spec.sparkVersion: Required value",
    ),
    "SparkApplication: half a core": (
        "data",
        "SparkApplication",
        put("spec/driver/cores", 0.5),
        "must be of type integer",
    ),
    "SparkApplication: no executor": (
        "data",
        "SparkApplication",
        put("spec/executor/instances", 0),
        "should be greater than or equal to 1",
    ),
    "SparkApplication: an unknown restart policy": (
        "data",
        "SparkApplication",
        put("spec/restartPolicy/type", "Sometimes"),
        'Unsupported value: "Sometimes"',
    ),
    "PodMonitor: an interval without unit": (
        "namespace",
        "PodMonitor",
        put("spec/podMetricsEndpoints/0/interval", "15"),
        "should match",
    ),
    "PodMonitor: an unknown relabel action": (
        "namespace",
        "PodMonitor",
        put("spec/podMetricsEndpoints/0/relabelings/0/action", "keeep"),
        "Unsupported value",
    ),
    "PrometheusRule: a rule without expression": (
        "namespace",
        "PrometheusRule",
        drop("spec/groups/0/rules/0/expr"),
        "expr: Required value",
    ),
    "PrometheusRule: a duration in words": (
        "namespace",
        "PrometheusRule",
        put("spec/groups/1/rules/3/for", "15 minutes"),
        "should match",
    ),
    "LocalQueue: a queue that is no name": (
        "namespace",
        "LocalQueue",
        put("spec/clusterQueue", "GPU Queue"),
        "should match",
    ),
    "ClusterQueue: a quota that is no quantity": (
        "cluster",
        "ClusterQueue",
        put("spec/resourceGroups/0/flavors/0/resources/0/nominalQuota", "many"),
        "should match",
    ),
    "ClusterQueue: fewer resources than its flavors": (
        "cluster",
        "ClusterQueue",
        lambda m: m["spec"]["resourceGroups"][0]["coveredResources"].pop(),
        "flavors must have the same number of resources as the coveredResources",
    ),
    "ClusterTrainingRuntime: nodes in words": (
        "cluster",
        "ClusterTrainingRuntime",
        put("spec/mlPolicy/numNodes", "eight"),
        "must be of type integer",
    ),
    "PodGroup: nobody in it": (
        "jobset, coscheduling",
        "PodGroup",
        put("spec/minMember", 0),
        "should be greater than or equal to 1",
    ),
}
