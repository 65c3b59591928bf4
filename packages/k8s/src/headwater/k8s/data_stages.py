"""The data stages of a recipe, each as the Job or the Spark application that it needs, or all of them in one pod."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.core import line
from headwater.core.errors import ConfigError
from headwater.k8s import data, restarts
from headwater.k8s.evaluation import config_text as evaluation_text
from headwater.k8s.jobs import job
from headwater.k8s.network import of_data
from headwater.k8s.pods import FILES_FOLDER, RECIPE, Object, Pod, container, metrics_flags, template
from headwater.k8s.recipes import RECIPE_FILE, Recipe, config_map

STAGES = ("items", "collect", "documents", "tokenizer", "tokens")
"""In the line's order."""

LINE = "line"
"""All of them, in one pod."""

DEFAULT = "documents"

ITEMS_FILE = "items.yaml"
"""The recipe of the items stage, which reads another section than the rest and has another image."""

_SECTIONS = {"collect": "sources", "documents": "documents", "tokenizer": "tokenizer", "tokens": "tokens"}
_COMMANDS = {stage.name: stage.command for stage in line.STAGES}


def render(recipe: Recipe, stage: str = DEFAULT) -> list[Object]:
    """A stage with its recipe and its network policy: a SparkApplication where the engine is Spark, else a Job.

    Args:
        recipe: The recipe.
        stage: One of `STAGES`, or `LINE`.

    Raises:
        ConfigError: The recipe is wrong, has no such section, or names an engine that no cluster here has.
    """
    if stage == DEFAULT and _engine(recipe) == "spark":
        return data.render(recipe)
    stages = _in_line(recipe) if stage == LINE else (_required(recipe, stage),)
    config = _config(recipe, stage, stages)
    policy = of_data(recipe.cluster, recipe.run, crawls=data.fetches(recipe))
    return [config, policy, _job(recipe, stage, stages, config["metadata"]["name"])]


def _engine(recipe: Recipe) -> str:
    _required(recipe, "documents")
    engine = recipe.section("documents").engine.name
    if engine not in ("local", "spark"):
        raise ConfigError(
            "documents are made on Spark or in one pod of a cluster", found=f"documents.engine.name: {engine}",
            expected="spark or local", hint="set documents.engine.name=spark: the engine changes no byte",
        )  # fmt: skip
    return engine


def _required(recipe: Recipe, stage: str) -> str:
    """The stage, if the recipe has the section that it reads."""
    section = _SECTIONS.get(stage, "eval")
    if section not in recipe.values:
        raise ConfigError(f"the recipe has no section {section}", hint="name a recipe that has it")
    return stage


def _in_line(recipe: Recipe) -> tuple[str, ...]:
    """The stages that a recipe has, in one pod: documents then have to be made there too."""
    if (engine := _engine(recipe)) != "local":
        raise ConfigError(
            "all data stages in one pod need documents on the local engine",
            found=f"documents.engine.name: {engine}", expected="local",
            hint="set documents.engine.name=local, which changes no byte, or submit the stages one after the other: "
            f"--stage {', --stage '.join(STAGES)}",
        )  # fmt: skip
    return tuple(stage for stage in STAGES if _SECTIONS.get(stage, "eval") in recipe.values)


def _config(recipe: Recipe, stage: str, stages: Sequence[str]) -> Object:
    files = {}
    if "items" in stages:
        files[ITEMS_FILE] = evaluation_text(recipe)
    if stages != ("items",):
        files[RECIPE_FILE] = recipe.text_for("data")
    return config_map(f"{recipe.run}-data-{stage}", recipe.run, "data", recipe.cluster.namespace, files)


def _job(recipe: Recipe, stage: str, stages: Sequence[str], config: str) -> Object:
    """A Job whose containers run one after the other, as init containers but for the last."""
    cluster = recipe.cluster
    *before, last = [_pod(recipe, each, config) for each in stages]
    made = template(cluster, last)
    if before:
        named = zip(stages, before, strict=False)
        made["spec"]["initContainers"] = [container(cluster, pod) | {"name": each} for each, pod in named]
    return job(
        recipe, f"{recipe.run}-data-{stage}", "data", made, restarts.of_single(any_container=bool(before))
    )  # fmt: skip


def _pod(recipe: Recipe, stage: str, config: str) -> Pod:
    cluster = recipe.cluster
    items = stage == "items"
    file = f"{FILES_FOLDER}/{ITEMS_FILE}" if items else RECIPE
    command = ["headwater", *_COMMANDS[stage], "--recipe", file, "--run", recipe.folder]
    if items:
        command += ["--data-dir", cluster.eval.data_dir] if cluster.eval.data_dir else []
    else:
        command += [*(["--engine", "local"] if stage == "documents" else []), *metrics_flags(cluster)]
    return Pod(
        run=recipe.run, component="data", image=cluster.images.eval if items else cluster.images.data, command=command,
        resources=cluster.data.resources, env={"NUMBA_CACHE_DIR": "/tmp/numba"}, files=[config],  # noqa: S108 (the pod's own)
        serves=not items and cluster.monitoring,
    )  # fmt: skip
