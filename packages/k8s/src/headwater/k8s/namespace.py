"""What a namespace needs before runs go there, and what an administrator puts into the cluster once."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import yaml

from headwater.core.errors import ConfigError
from headwater.k8s.config import Cluster, Resources
from headwater.k8s.data import DRIVER_ACCOUNT
from headwater.k8s.evaluation import DISPATCH_ACCOUNT
from headwater.k8s.naming import COMPONENT, INSTANCE, PART_OF
from headwater.k8s.network import of_namespace
from headwater.k8s.pods import METRICS, PRODUCT, WORKER_ACCOUNT, Object
from headwater.k8s.quantities import value_of
from headwater.k8s.train import SHARED_RUNTIME, runtime


def render(cluster: Cluster) -> list[Object]:
    """The namespace and all in it that belongs to no run."""
    objects = [
        _namespace(cluster), *_accounts(cluster), *of_namespace(cluster), _quota(cluster), _claim(cluster),
    ]  # fmt: skip
    if cluster.queue:
        objects.append(_local_queue(cluster, cluster.queue))
    return [*objects, *monitoring(cluster)] if cluster.monitoring else objects


def render_cluster(cluster: Cluster) -> list[Object]:
    """What is no namespace's, and needs an administrator: the runtime, the priority, Kueue's queue and flavor."""
    shared = cluster.runtime == "ClusterTrainingRuntime"
    objects: list[Object] = [runtime(cluster, SHARED_RUNTIME, PART_OF)] if shared else []
    if cluster.priority:
        objects.append({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": cluster.priority, "labels": PART_OF}, "value": 100_000, "globalDefault": False,
            "preemptionPolicy": "PreemptLowerPriority", "description": "Headwater's trainings",
        })  # fmt: skip
    return objects + (_cluster_queue(cluster, cluster.queue) if cluster.queue else [])


def _namespace(cluster: Cluster) -> Object:
    level = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cluster.namespace, "labels": PART_OF | level}}


def _metadata(cluster: Cluster, name: str) -> Object:
    return {"name": name, "namespace": cluster.namespace, "labels": dict(PART_OF)}


def _accounts(cluster: Cluster) -> list[Object]:
    """Workers have no rights. Spark's driver may handle pods of this namespace, the dispatcher may make Jobs."""
    rules: dict[str, list[Object]] = {
        DRIVER_ACCOUNT: [{
            "apiGroups": [""], "resources": ["pods", "services", "configmaps", "persistentvolumeclaims"],
            "verbs": ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"],
        }],
        DISPATCH_ACCOUNT: [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}],
    }  # fmt: skip
    secret = cluster.images.pull_secret
    pulls: Object = {"imagePullSecrets": [{"name": secret}]} if secret else {}
    accounts: list[Object] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata(cluster, name),
         "automountServiceAccountToken": False} | pulls
        for name in (WORKER_ACCOUNT, *rules)
    ]  # fmt: skip
    for name, allowed in rules.items():
        accounts += [
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": _metadata(cluster, name),
             "rules": allowed},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": _metadata(cluster, name),
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
             "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": cluster.namespace}]},
        ]  # fmt: skip
    return accounts


def _quota(cluster: Cluster) -> Object:
    """Nothing in the namespace may be reached from outside of the cluster."""
    return {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": _metadata(cluster, "no-ways-in"),
        "spec": {"hard": {"services.loadbalancers": "0", "services.nodeports": "0"}},
    }  # fmt: skip


def _claim(cluster: Cluster) -> Object:
    storage = cluster.storage
    spec: Object = {
        "accessModes": [storage.access], "resources": {"requests": {"storage": storage.size}},
    }  # fmt: skip
    if storage.storage_class:
        spec["storageClassName"] = storage.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(cluster, storage.claim),
        "spec": spec,
    }


def _local_queue(cluster: Cluster, name: str) -> Object:
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "metadata": _metadata(cluster, name),
        "spec": {"clusterQueue": name},
    }  # fmt: skip


def _cluster_queue(cluster: Cluster, name: str) -> list[Object]:
    """A queue with room for one training of this recipe, one evaluation, its Spark job and a data stage of one pod.

    An administrator sets the quotas of the real nodes. What needs no GPU goes to nodes of the first flavor.
    """
    spark, evaluation = cluster.spark, cluster.eval
    on_gpus = (cluster.resources, cluster.nodes), (evaluation.resources, 1)
    without = (spark.driver, 1), (spark.executor, spark.executors), (cluster.data.resources, 1)
    gpus = 0 if cluster.cpu_only else cluster.world_size + evaluation.gpus
    flavors = [(f"{name}-cpu", _sum(without), 0)] + ([(name, _sum(on_gpus), gpus)] if gpus else [])
    if not gpus:
        flavors = [(name, _sum((*on_gpus, *without)), 0)]
    objects: list[Object] = []
    quotas: list[Object] = []
    for flavor, amounts, count in flavors:
        quota = dict(amounts) | {cluster.gpu.resource: str(count)}
        if cluster.network.rdma:
            quota[cluster.network.rdma] = str(cluster.nodes * cluster.network.rdma_count if count else 0)
        quotas.append({
            "name": flavor, "resources": [{"name": each, "nominalQuota": amount} for each, amount in quota.items()],
        })  # fmt: skip
        objects += _flavor(cluster, flavor, gpus=count > 0)
    queue: Object = {
        "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ClusterQueue", "metadata": {"name": name, "labels": PART_OF},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": cluster.namespace}},
            "queueingStrategy": "BestEffortFIFO",
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [{
                "coveredResources": [each["name"] for each in quotas[0]["resources"]], "flavors": quotas,
            }],
        },
    }  # fmt: skip
    return [*objects, queue]


def _flavor(cluster: Cluster, name: str, *, gpus: bool) -> list[Object]:
    flavor: Object = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor",
                      "metadata": {"name": name, "labels": PART_OF}}  # fmt: skip
    spec: Object = {}
    if gpus and cluster.gpu.product:
        spec["nodeLabels"] = {PRODUCT: cluster.gpu.product}
    if gpus and cluster.topology:
        # Kueue looks for nodes that share the label, and falls back to any.
        spec = {"nodeLabels": {"kubernetes.io/os": "linux"}} | spec | {"topologyName": name}
    if spec:
        flavor["spec"] = spec
    if not (gpus and cluster.topology):
        return [flavor]
    levels = [{"nodeLabel": cluster.topology}, {"nodeLabel": "kubernetes.io/hostname"}]
    topology: Object = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Topology",
                        "metadata": {"name": name, "labels": PART_OF}, "spec": {"levels": levels}}  # fmt: skip
    return [topology, flavor]


def _sum(parts: Sequence[tuple[Resources, int]]) -> dict[str, str]:
    """CPU and memory of several pods of several kinds; memory in MiB."""
    cpu = sum(value_of(resources.cpu) * count for resources, count in parts)
    memory = sum(value_of(resources.memory) * count for resources, count in parts)
    return {"cpu": f"{ceil(cpu)}", "memory": f"{ceil(memory / 2**20)}Mi"}


def monitoring(cluster: Cluster) -> list[Object]:
    """What the Prometheus operator and Grafana read: targets, rules, dashboards.

    Raises:
        ConfigError: headwater-monitor is not installed here.
    """
    try:
        from headwater.monitor import rules
        from headwater.monitor.grafana.provision import dashboard_config_maps

        groups: dict[str, Any] = yaml.safe_load(rules.as_yaml(cluster.runbook or rules.RUNBOOK))
        boards = dashboard_config_maps(cluster.namespace)
    except ImportError as error:
        raise ConfigError(
            "rules and dashboards are made by headwater-monitor", found=str(error),
            hint="pip install 'headwater-monitor[grafana]', or set cluster.monitoring=false",
        ) from error  # fmt: skip
    found_by = _metadata(cluster, "headwater")
    found_by["labels"] |= cluster.monitoring_labels
    return [
        {"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor", "metadata": found_by, "spec": _targets()},
        {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": found_by, "spec": groups},
        *boards,
    ]


def _targets() -> Object:
    """What serves metrics of each run, under the run's name: it stays the same target when its pods are made anew."""
    pod = "__meta_kubernetes_pod_label_"
    relabelings: list[Object] = [
        # Only the first process serves metrics.
        {"sourceLabels": [f"{pod}batch_kubernetes_io_job_completion_index"], "regex": "0|", "action": "keep"},
        {"sourceLabels": [f"{pod}training_kubeflow_org_replica_type"], "regex": "master|", "action": "keep"},
        {"sourceLabels": [f"{pod}{_mangled(INSTANCE)}"], "targetLabel": "instance"},
        # train, data, data-driver, eval-scores: the stage is the first word.
        {"sourceLabels": [f"{pod}{_mangled(COMPONENT)}"], "regex": "([a-z]+).*", "targetLabel": "job",
         "replacement": "headwater-$1"},
        # The operator's own labels would make another series of each pod.
        {"regex": "pod|container|endpoint", "action": "labeldrop"},
    ]  # fmt: skip
    return {
        "selector": {"matchLabels": PART_OF},
        "podMetricsEndpoints": [{"port": METRICS, "path": "/metrics", "interval": "15s", "relabelings": relabelings}],
    }


def _mangled(label: str) -> str:
    return "".join(each if each.isalnum() else "_" for each in label)
