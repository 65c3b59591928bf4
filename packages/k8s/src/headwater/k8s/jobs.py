"""Jobs of one pod: data stages that run on one machine, and evaluations."""

from __future__ import annotations

from headwater.k8s.naming import labels
from headwater.k8s.pods import Object
from headwater.k8s.recipes import Recipe

KEEP_SECONDS = 7 * 86_400
"""How long a finished Job stays, with its pod's output."""


def job(recipe: Recipe, name: str, component: str, pod: Object, policy: Object) -> Object:
    """A Job.

    Args:
        recipe: The recipe.
        name: Of the Job.
        component: The stage that it belongs to.
        pod: Its pod template.
        policy: Its `podFailurePolicy`.
    """
    return {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata(recipe, name, component, queued=True),
        "spec": job_spec(pod, policy),
    }  # fmt: skip


def job_spec(pod: Object, policy: Object) -> Object:
    """The specification of a Job of one pod, which is started again three times."""
    return {
        "backoffLimit": 3, "podFailurePolicy": policy, "podReplacementPolicy": "Failed",
        "ttlSecondsAfterFinished": KEEP_SECONDS, "template": pod,
    }  # fmt: skip


def metadata(recipe: Recipe, name: str, component: str, *, queued: bool) -> Object:
    """Name, namespace and labels of an object of a run.

    Args:
        recipe: The recipe.
        name: Of the object.
        component: The stage that it belongs to.
        queued: Whether it waits in Kueue's queue, where there is one.
    """
    marks = labels(recipe.run, component)
    if recipe.cluster.queue and queued:
        marks = marks | {"kueue.x-k8s.io/queue-name": recipe.cluster.queue}
    return {"name": name, "namespace": recipe.cluster.namespace, "labels": marks}
