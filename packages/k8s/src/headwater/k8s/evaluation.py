"""Evaluation: a Job for each new checkpoint, what tells Prometheus their scores, and a CronJob with the gate."""

from __future__ import annotations

import json
from typing import Any

from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.k8s import restarts
from headwater.k8s.config import Resources
from headwater.k8s.jobs import job, job_spec, metadata
from headwater.k8s.naming import labels, of_run
from headwater.k8s.pods import FILES_FOLDER, RECIPE, Object, Pod, metrics_flags, template, threads
from headwater.k8s.recipes import RECIPE_FILE, Recipe, config_map

DISPATCH_ACCOUNT = "headwater-dispatch"
"""Service account of what makes Jobs for checkpoints: it may make Jobs, and nothing else."""

JOB_FILE = "eval-job.json"
STEP = "{step}"
"""Stands for the step in the Job of `JOB_FILE`."""

VERDICTS = (3, 4)
"""Exit codes of the gate: NO-GO, INCONCLUSIVE. The Job has failed, and another try would say the same."""


def render(recipe: Recipe) -> list[Object]:
    """The CronJob that makes a Job for each new checkpoint, what tells Prometheus their scores, and the gate.

    Raises:
        ConfigError: The recipe is wrong.
    """
    cluster, run = recipe.cluster, recipe.run
    config = _config(recipe)
    name = config["metadata"]["name"]
    text = json.dumps(_job(recipe, STEP, name), indent=1) + "\n"
    wanted = config_map(f"{run}-eval-job", run, "eval", cluster.namespace, {JOB_FILE: text})
    look = Pod(
        run=run, component="dispatch", image=cluster.images.eval, account=DISPATCH_ACCOUNT, token=True,
        command=["headwater", "k8s", "dispatch", "--run", recipe.folder, "--job", f"{FILES_FOLDER}/{JOB_FILE}"],
        resources=Resources(cpu="250m", memory="512Mi"), files=[name, wanted["metadata"]["name"]],
    )  # fmt: skip
    objects = [config, wanted, _cron(recipe, "eval-new", cluster.eval.schedule, look, restarts.of_single())]
    if cluster.monitoring:
        objects.append(_scores(recipe))
    return [*objects, _gate(recipe, name)] if cluster.eval.baseline else objects


def render_step(recipe: Recipe, step: int) -> list[Object]:
    """One Job that evaluates the checkpoint of a step.

    Raises:
        ConfigError: The recipe is wrong.
    """
    config = _config(recipe)
    return [config, _job(recipe, str(step), config["metadata"]["name"])]


def at_step(text: str, step: int) -> dict[str, Any]:
    """The Job of a step, from the text of `JOB_FILE`."""
    return json.loads(text.replace(f"step-{STEP}", RunLayout("").eval_of(step).name).replace(STEP, str(step)))


def _job(recipe: Recipe, step: str, config: str) -> Object:
    cluster, run = recipe.cluster, recipe.run
    layout = RunLayout(recipe.folder)
    output = layout.evals / f"step-{STEP}" if step == STEP else layout.eval_of(int(step))
    command = ["headwater", "eval", "run", "--recipe", RECIPE, "--run", recipe.folder, "--checkpoint", step,
               "--output", str(output)]  # fmt: skip
    if cluster.eval.data_dir:
        command += ["--data-dir", cluster.eval.data_dir]
    pod = Pod(
        run=run, component="eval", image=cluster.images.eval, command=command, resources=cluster.eval.resources,
        gpus=0 if cluster.cpu_only else cluster.eval.gpus, env=threads(cluster.eval.resources), files=[config],
    )  # fmt: skip
    return job(recipe, f"{run}-eval-{step}", "eval", template(cluster, pod), restarts.of_single())


def _scores(recipe: Recipe) -> Object:
    """What Prometheus scrapes: it reads the results of all Jobs, which are gone when their scores are known."""
    cluster, run = recipe.cluster, recipe.run
    pod = Pod(
        run=run, component="eval-scores", image=cluster.images.eval, resources=Resources(cpu="250m", memory="512Mi"),
        command=["headwater", "eval", "scores", "--run", recipe.folder, *metrics_flags(cluster)], serves=True,
    )  # fmt: skip
    made = template(cluster, pod)
    made["spec"] |= {"restartPolicy": "Always", "terminationGracePeriodSeconds": 30}
    marks = labels(run, "eval-scores")
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": f"{run}-eval-scores", "namespace": cluster.namespace, "labels": marks},
        "spec": {
            "replicas": 1, "strategy": {"type": "Recreate"},  # two would be one target
            "selector": {"matchLabels": of_run(run, "eval-scores")}, "template": made,
        },
    }  # fmt: skip


def _gate(recipe: Recipe, config: str) -> Object:
    cluster, run = recipe.cluster, recipe.run
    assert cluster.eval.baseline is not None
    if cluster.eval.baseline == run:
        raise ConfigError("the gate's baseline is the run itself", found=f"cluster.eval.baseline: {run}",
                          hint="name another run of the storage")  # fmt: skip
    command = [
        "headwater", "eval", "gate", "--candidate", recipe.folder,
        "--baseline", f"{cluster.storage.path}/{cluster.eval.baseline}", "--suite", cluster.eval.suite,
        "--output", f"{recipe.folder}/gate", "--markdown", f"{recipe.folder}/gate/gate.md",
        "--junit", f"{recipe.folder}/gate/gate.xml",
    ]  # fmt: skip
    if cluster.eval.data_dir:
        command += ["--data-dir", cluster.eval.data_dir]
    pod = Pod(
        run=run, component="eval", image=cluster.images.eval, command=command, resources=cluster.eval.resources,
        gpus=0 if cluster.cpu_only else cluster.eval.gpus, env=threads(cluster.eval.resources), files=[config],
    )  # fmt: skip
    final = (*restarts.FAILED, *VERDICTS)
    return _cron(recipe, "gate", cluster.eval.gate_schedule, pod, restarts.of_single(final))


def _cron(recipe: Recipe, what: str, schedule: str, pod: Pod, policy: Object) -> Object:
    name = f"{recipe.run}-{what}"
    marks = metadata(recipe, name, pod.component, queued=pod.component == "eval")["labels"]
    made = {"metadata": {"labels": marks}, "spec": job_spec(template(recipe.cluster, pod), policy)}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(recipe, name, pod.component, queued=False),
        "spec": {
            "schedule": schedule, "concurrencyPolicy": "Forbid", "startingDeadlineSeconds": 300,
            "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 3, "jobTemplate": made,
        },
    }  # fmt: skip


def _config(recipe: Recipe) -> Object:
    """The ConfigMap with the recipe; errors as `config_text`."""
    return config_map(f"{recipe.run}-eval", recipe.run, "eval", recipe.cluster.namespace,
                      {RECIPE_FILE: config_text(recipe)})  # fmt: skip


def config_text(recipe: Recipe) -> str:
    """The recipe of an evaluation, or of its items.

    Raises:
        ConfigError: The recipe is wrong, or wants a network that the pods have not.
    """
    if recipe.section("eval").hub:
        raise ConfigError("evaluations on a cluster have no network", found="eval.hub: true",
                          hint="put the data on the storage, and name its folder in cluster.eval.data_dir")  # fmt: skip
    return recipe.text_for("eval")
