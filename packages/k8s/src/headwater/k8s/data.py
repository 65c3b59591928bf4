"""The documents of a recipe on Spark: as a SparkApplication for the Spark operator, or by spark-submit itself."""

from __future__ import annotations

import shlex
from pathlib import Path

from headwater.core.errors import ConfigError
from headwater.core.storage import atomic_write
from headwater.k8s.config import Cluster, Resources
from headwater.k8s.naming import labels
from headwater.k8s.network import of_data
from headwater.k8s.pods import (
    BASE_ENV,
    RECIPE,
    WORKER_ACCOUNT,
    Object,
    container_security,
    metrics_flags,
    metrics_port,
    mounts,
    placement,
    pod_security,
    variables,
    volumes,
)
from headwater.k8s.quantities import value_of
from headwater.k8s.recipes import Recipe
from headwater.k8s.write import as_yaml, write_files

DRIVER_ACCOUNT = "headwater-spark"
"""Service account of the driver, which starts executors."""

MAIN = "/opt/headwater/headwater_submit.py"
"""In the image: what spark-submit starts."""

SCRIPT = """\
#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"  # the pod templates lie beside this
"""

_CONTAINERS = {"driver": "spark-kubernetes-driver", "executor": "spark-kubernetes-executor"}
"""Spark's names for the containers that it fills in."""


def render(recipe: Recipe) -> list[Object]:
    """A SparkApplication with its recipe and its network policy.

    Raises:
        ConfigError: The recipe is wrong.
    """
    cluster, run = recipe.cluster, recipe.run
    config = config_of(recipe)
    spark = cluster.spark
    marks = labels(run, "data")
    if cluster.queue:
        marks = marks | {"kueue.x-k8s.io/queue-name": cluster.queue}
    name = config["metadata"]["name"]
    application: Object = {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": f"{run}-data", "namespace": cluster.namespace, "labels": marks},
        "spec": {
            "type": "Python",
            "pythonVersion": "3",
            "mode": "cluster",
            "sparkVersion": spark.version,
            "image": cluster.images.data,
            "imagePullPolicy": "IfNotPresent",
            "mainApplicationFile": f"local://{MAIN}",
            "arguments": _arguments(recipe),
            "sparkConf": _properties(cluster),
            # A job that is started again goes on: finished steps and units are marked in the run folder.
            "restartPolicy": {
                "type": "OnFailure", "onFailureRetries": 3, "onFailureRetryInterval": 30,
                "onSubmissionFailureRetries": 3, "onSubmissionFailureRetryInterval": 30,
            },
            "timeToLiveSeconds": 7 * 86_400,
            "driver": _size(spark.driver, spark.python_share)
            | {"serviceAccount": DRIVER_ACCOUNT, "template": pod_template(cluster, run, "driver", name)},
            "executor": _size(spark.executor, spark.python_share)
            | {"instances": spark.executors, "template": pod_template(cluster, run, "executor", name)},
        },
    }  # fmt: skip
    return [config, of_data(cluster, run, crawls=fetches(recipe)), application]


def spark_submit(recipe: Recipe, api_server: str, templates: str) -> str:
    """The same job as one command, for a cluster without the operator.

    Args:
        recipe: The recipe.
        api_server: Address of the Kubernetes API, for example `https://10.0.0.1:6443`.
        templates: Folder with `driver.yaml` and `executor.yaml` (see `pod_template`) where spark-submit runs.

    Raises:
        ConfigError: The recipe or the address is wrong.
    """
    if not api_server.startswith(("https://", "http://127.0.0.1", "http://localhost")):
        raise ConfigError("the address of the API server is not valid", found=api_server,
                          expected="https://HOST:PORT; `kubectl cluster-info` prints it")  # fmt: skip
    cluster, run = recipe.cluster, recipe.run
    spark = cluster.spark
    sizes = {role: _size(getattr(spark, role), spark.python_share) for role in _CONTAINERS}
    properties = _properties(cluster) | {
        "spark.kubernetes.namespace": cluster.namespace,
        "spark.kubernetes.container.image": cluster.images.data,
        "spark.kubernetes.container.image.pullPolicy": "IfNotPresent",
        "spark.kubernetes.authenticate.driver.serviceAccountName": DRIVER_ACCOUNT,
        "spark.executor.instances": str(spark.executors),
    }
    for role, size in sizes.items():
        properties |= {
            f"spark.{role}.cores": str(size["cores"]), f"spark.{role}.memory": size["memory"],
            f"spark.{role}.memoryOverhead": size["memoryOverhead"],
            f"spark.kubernetes.{role}.limit.cores": size["coreLimit"],
            f"spark.kubernetes.{role}.podTemplateFile": f"{templates}/{role}.yaml",
            f"spark.kubernetes.{role}.podTemplateContainerName": _CONTAINERS[role],
        }  # fmt: skip
    words = ["spark-submit", "--master", f"k8s://{api_server}", "--deploy-mode", "cluster", "--name", f"{run}-data"]
    lines = [shlex.join(words)]
    lines += [shlex.join(["--conf", f"{key}={value}"]) for key, value in sorted(properties.items())]
    lines.append(shlex.join([f"local://{MAIN}", *_arguments(recipe)]))
    return " \\\n  ".join(lines) + "\n"


def write_spark_submit(folder: Path, recipe: Recipe, api_server: str) -> list[Path]:
    """Writes what a cluster without the operator needs: ConfigMap, policy, pod templates, and the command.

    Args:
        folder: Where.
        recipe: The recipe.
        api_server: Address of the Kubernetes API.

    Raises:
        ConfigError: The recipe or the address is wrong.
        StorageError: The disk refused.
    """
    cluster, run = recipe.cluster, recipe.run
    command = spark_submit(recipe, api_server, ".")
    config = config_of(recipe)
    files = write_files(folder, [config, of_data(cluster, run, crawls=fetches(recipe))])
    for role in _CONTAINERS:
        path = folder / f"{role}.yaml"
        pod = {"apiVersion": "v1", "kind": "Pod"} | pod_template(cluster, run, role, config["metadata"]["name"])
        atomic_write(path, as_yaml([pod]))
        files.append(path)
    atomic_write(folder / "submit.sh", SCRIPT + command)
    return [*files, folder / "submit.sh"]


def pod_template(cluster: Cluster, run: str, role: str, config: str) -> Object:
    """The pod template of the driver or of executors, for the operator and for spark-submit alike.

    Args:
        cluster: The `cluster` section.
        run: The run's name.
        role: driver or executor.
        config: Name of the ConfigMap with the recipe.
    """
    container: Object = {
        "name": _CONTAINERS[role],
        "env": variables(BASE_ENV | {"NUMBA_CACHE_DIR": "/tmp/numba"}),  # noqa: S108 (the pod's own)
        "securityContext": container_security(),
        "volumeMounts": [
            *mounts(cluster, files=True, shared_memory=False),
            {"name": "work", "mountPath": "/opt/spark/work-dir"},
        ],
    }
    if role == "driver" and cluster.monitoring:
        container["ports"] = [metrics_port()]
    if cluster.storage.credentials:
        container["envFrom"] = [{"secretRef": {"name": cluster.storage.credentials}}]
    spec: Object = {
        "automountServiceAccountToken": role == "driver",
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": [*volumes(cluster, [config], shared_memory=False), {"name": "work", "emptyDir": {}}],
    }
    spec |= placement(cluster, gpus=False)
    component = "data-driver" if role == "driver" else "data"
    return {"metadata": {"labels": labels(run, component)}, "spec": spec}


def config_of(recipe: Recipe) -> Object:
    """The ConfigMap with the recipe.

    Raises:
        ConfigError: The recipe has no documents, or is wrong.
    """
    if "documents" not in recipe.values:
        raise ConfigError("the recipe has no section documents", hint="name a recipe that has it")
    return recipe.for_stage("data")


def _arguments(recipe: Recipe) -> list[str]:
    return [
        "data", "run", "--recipe", RECIPE, "--run", recipe.folder, "--engine", "spark", *metrics_flags(recipe.cluster),
    ]  # fmt: skip


def fetches(recipe: Recipe) -> bool:
    """Whether a source is read over the network."""
    return False if "sources" not in recipe.values else any(
        "://" in str(value) for value in recipe.values["sources"].values()
    )  # fmt: skip


def _properties(cluster: Cluster) -> dict[str, str]:
    return {
        # An executor that is evicted hands its shuffle files on instead of losing them.
        "spark.decommission.enabled": "true",
        "spark.storage.decommission.enabled": "true",
        "spark.storage.decommission.shuffleBlocks.enabled": "true",
        "spark.kubernetes.executor.terminationGracePeriodSeconds": f"{cluster.grace_seconds}s",
        # Spark gives up after ten seconds, and leaves what it asked for behind: a busy API server takes longer.
        **{
            f"spark.kubernetes.{who}.{what}Timeout": "60000"
            for who in ("submission", "driver")
            for what in ("connection", "request")
        },
        "spark.kubernetes.executor.deleteOnTermination": "true",
        "spark.kubernetes.authenticate.executor.serviceAccountName": WORKER_ACCOUNT,
        "spark.kubernetes.driver.reusePersistentVolumeClaim": "false",
        "spark.kubernetes.local.dirs.tmpfs": "false",
        "spark.ui.enabled": "false",
    }


def _size(resources: Resources, python_share: float) -> Object:
    """Cores and memory in Spark's terms; Java gets what Python does not.

    Raises:
        ConfigError: Spark counts whole cores.
    """
    cores, memory = value_of(resources.cpu), int(value_of(resources.memory) / 2**20)
    if cores != int(cores):
        raise ConfigError("Spark counts whole cores", found=f"cpu: {resources.cpu}", hint="give a whole number")
    python = int(memory * python_share)
    return {
        "cores": int(cores), "coreLimit": resources.cpu, "memory": f"{memory - python}m",
        "memoryOverhead": f"{python}m",
    }  # fmt: skip
