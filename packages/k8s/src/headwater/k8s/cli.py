"""`headwater k8s`. Only click is imported until a command runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from headwater.k8s.recipes import Recipe

STAGES = ("train", "data", "eval")
COMPONENTS = {"train": "train", "data": "data,data-driver", "eval": "eval,dispatch,eval-scores"}
DATA_STAGES = ("items", "collect", "documents", "tokenizer", "tokens", "line")
PARTS = (*STAGES, "namespace", "cluster")

Command = TypeVar("Command", bound=Callable[..., Any])


def _recipe_options(command: Command) -> Command:
    command = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")(command)
    command = click.option(
        "--name", metavar="NAME", help="The run's name: of its folder on the storage and of its objects (default: the "
        "recipe's name).",
    )(command)  # fmt: skip
    return click.option(
        "--recipe", required=True, metavar="FILE|NAME",
        help="The recipe that runs locally, with a `cluster` section. KEY=VALUE arguments override it, for example "
        "cluster.nodes=2.",
    )(command)  # fmt: skip


def _context_option(command: Command) -> Command:
    return click.option("--context", metavar="NAME", help="Of your kubeconfig (default: the current one).")(command)


def _step_option(command: Command) -> Command:
    return click.option(
        "--step", type=click.IntRange(0, 10**15), metavar="STEP",
        help="With eval: one Job, for the checkpoint of a step, in place of the one that looks for new ones.",
    )(command)  # fmt: skip


def _data_option(command: Command) -> Command:
    return click.option(
        "--stage", type=click.Choice(DATA_STAGES), default=None, metavar="STAGE",
        help="With data: items, collect, documents (the default), tokenizer or tokens; line: all of them in one pod, "
        "one after the other.",
    )(command)  # fmt: skip


@click.group(short_help="Run the stages of a recipe on Kubernetes.")
def k8s() -> None:
    """Run the stages of a recipe on Kubernetes.

    A recipe's `cluster` section says where: namespace, images, nodes, GPUs, storage, queue. What is computed is the
    same as locally. Nothing here needs cluster-wide rights but `cluster`, which an administrator applies once.

    \b
    headwater k8s render cluster   --recipe my.yaml | kubectl apply -f -    # an administrator, once
    headwater k8s submit namespace --recipe my.yaml                         # once
    headwater k8s submit train     --recipe my.yaml --name run-1 --dry-run=server
    headwater k8s submit train     --recipe my.yaml --name run-1
    headwater k8s status           --recipe my.yaml --name run-1
    """


@k8s.command("render")
@click.argument("part", type=click.Choice(PARTS))
@_recipe_options
@_step_option
@_data_option
@click.option(
    "--spark-submit", "api_server", metavar="URL",
    help="With data: a spark-submit command for a cluster without the Spark operator, with the address of its API.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="A folder for one file an object (default: all of them on stdout).",
)  # fmt: skip
def render(
    part: str, recipe: str, name: str | None, overrides: tuple[str, ...], step: int | None, stage: str | None,
    api_server: str | None, output: Path | None,
) -> None:  # fmt: skip
    """Print the manifests of a part, checked: nothing is sent anywhere.

    \b
    headwater k8s render train --recipe my.yaml cluster.kind=jobset
    headwater k8s render data --recipe my.yaml --spark-submit https://10.0.0.1:6443 --output spark/
    """
    from headwater.core.console import done
    from headwater.k8s import data
    from headwater.k8s.recipes import Recipe
    from headwater.k8s.write import as_yaml, write_files

    read = Recipe(recipe, overrides, name)
    _options(part, step, stage, api_server)
    if api_server is None:
        objects = _objects(part, read, step, stage)
        if output is None:
            click.echo(as_yaml(objects), nl=False)
            return
        files = write_files(output, objects)
    else:
        if output is None:
            raise click.UsageError("--spark-submit writes pod templates too: name a folder with --output")
        files = data.write_spark_submit(output, read, api_server)
    done("k8s render", f"{len(files)} files: {output}")


@k8s.command("submit")
@click.argument("part", type=click.Choice((*STAGES, "namespace")))
@_recipe_options
@_step_option
@_data_option
@_context_option
@click.option(
    "--dry-run", type=click.Choice(["none", "client", "server"]), default="none", show_default=True,
    help="client: check here and say what would be sent. server: the API server checks it too, and stores nothing.",
)  # fmt: skip
def submit(
    part: str, recipe: str, name: str | None, overrides: tuple[str, ...], step: int | None, stage: str | None,
    context: str | None, dry_run: str,
) -> None:  # fmt: skip
    """Check a part and send it to the cluster, by kubectl's server-side apply.

    A training whose degrees of parallelism do not multiply to its GPUs, or that does not fit into their memory, is
    refused before anything is sent.
    """
    from headwater.core.console import done
    from headwater.k8s.kubectl import Kubectl
    from headwater.k8s.recipes import Recipe
    from headwater.k8s.write import as_yaml, named

    read = Recipe(recipe, overrides, name)
    _options(part, step, stage, None)
    objects = _objects(part, read, step, stage)
    if dry_run == "client":
        for each in objects:
            click.echo(f"{named(each)} (not sent)")
        return
    click.echo(Kubectl(read.cluster.namespace, context).apply(as_yaml(objects), dry_run=dry_run == "server"), nl=False)
    if dry_run == "none":
        done("k8s submit", f"{part} of {read.run} in {read.cluster.namespace}")


@k8s.command("status")
@_recipe_options
@_context_option
def status(recipe: str, name: str | None, overrides: tuple[str, ...], context: str | None) -> None:
    """Show what is in the cluster of a run."""
    from headwater.k8s.kubectl import Kubectl
    from headwater.k8s.naming import INSTANCE
    from headwater.k8s.recipes import Recipe
    from headwater.k8s.write import kinds_of

    read = Recipe(recipe, overrides, name)
    found = Kubectl(read.cluster.namespace, context).get([*kinds_of(read), "pods"], f"{INSTANCE}={read.run}")
    click.echo(found or f"there is nothing of {read.run} in {read.cluster.namespace}\n", nl=False)


@k8s.command("logs")
@click.argument("stage", type=click.Choice(STAGES))
@_recipe_options
@_context_option
@click.option("--follow", "-f", is_flag=True, help="Go on as they print.")
@click.option("--tail", type=click.IntRange(-1), default=100, show_default=True, help="Lines of each pod; -1: all.")
def logs(
    stage: str, recipe: str, name: str | None, overrides: tuple[str, ...], context: str | None, follow: bool, tail: int
) -> None:
    """Print what the pods of a stage print."""
    from headwater.k8s.kubectl import Kubectl
    from headwater.k8s.naming import COMPONENT, INSTANCE
    from headwater.k8s.recipes import Recipe

    read = Recipe(recipe, overrides, name)
    selector = f"{INSTANCE}={read.run},{COMPONENT} in ({COMPONENTS[stage]})"
    raise SystemExit(Kubectl(read.cluster.namespace, context).logs(selector, follow=follow, tail=tail))


@k8s.command("cancel")
@click.argument("stage", type=click.Choice((*STAGES, "all")), default="all")
@_recipe_options
@_context_option
@click.option("--wait/--no-wait", default=True, help="Until the pods are gone: a training writes a checkpoint first.")
def cancel(
    stage: str, recipe: str, name: str | None, overrides: tuple[str, ...], context: str | None, wait: bool
) -> None:
    """Stop a run, or a stage of it, and delete its objects. Its folder on the storage stays.

    --no-wait leaves ConfigMaps, network policies and budgets for the pods that end; another cancel takes them.
    """
    from headwater.k8s.kubectl import Kubectl
    from headwater.k8s.naming import COMPONENT, INSTANCE
    from headwater.k8s.recipes import Recipe
    from headwater.k8s.write import kinds_of

    read = Recipe(recipe, overrides, name)
    selector = f"{INSTANCE}={read.run}"
    if stage != "all":
        selector += f",{COMPONENT} in ({COMPONENTS[stage]})"
    kubectl = Kubectl(read.cluster.namespace, context)
    found = kubectl.delete([*kinds_of(read), "pods"], selector, wait=wait)
    if wait:  # not before: the pods write their checkpoint over the network that the policies let them use
        found += kubectl.delete(["configmaps", "networkpolicies", "poddisruptionbudgets"], selector, wait=True)
    elif found:
        found += (
            "ConfigMaps, network policies and budgets stay for the pods that end; cancel again when they are gone\n"
        )
    click.echo(found or f"there is nothing of {read.run} in {read.cluster.namespace}\n", nl=False)


@k8s.command("launch", context_settings={"ignore_unknown_options": True})
@click.option("--processes", type=click.IntRange(1, 64), required=True, metavar="N", help="On this pod, one a GPU.")
@click.option("--again-code", type=click.IntRange(1, 255), metavar="CODE",
              help="For an operator with rules of its own: what to end with in place of 75 (SIGTERM, and a checkpoint "
              "was written) and 76 (a process of another pod is gone).")  # fmt: skip
@click.argument("command", nargs=-1, required=True, metavar="-- COMMAND...")
def launch(processes: int, again_code: int | None, command: tuple[str, ...]) -> None:
    """Start the processes of a training's pod, and end as they do. It is what pods run.

    Where the pod stands among the others comes from PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT.
    SIGTERM is passed on and waited for.
    """
    import os

    from headwater.k8s.launch import launch as start
    from headwater.k8s.launch import read_rendezvous

    raise SystemExit(start(command, processes, read_rendezvous(os.environ), again_code=again_code))


@k8s.command("dispatch")
@click.option(
    "--run", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Run folder."
)
@click.option("--job", required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
              help="The Job, with {step} where the step belongs.")  # fmt: skip
def dispatch(run: Path, job: Path) -> None:
    """Make a Job for each checkpoint that has no evaluation yet. It is what the CronJob of `submit eval` runs."""
    from headwater.core.console import done
    from headwater.core.layout import RunLayout
    from headwater.k8s.dispatch import ApiServer
    from headwater.k8s.dispatch import dispatch as each_checkpoint

    made = each_checkpoint(RunLayout(run), job.read_text(encoding="utf-8"), ApiServer.of_pod())
    done("k8s dispatch", f"Jobs for {', '.join(f'step {step:,}' for step in made)}" if made else "no new checkpoint")


def _options(part: str, step: int | None, stage: str | None, api_server: str | None) -> None:
    if step is not None and part != "eval":
        raise click.UsageError("--step belongs to eval")
    if api_server is not None and part != "data":
        raise click.UsageError("--spark-submit belongs to data")
    if stage is not None and part != "data":
        raise click.UsageError("--stage belongs to data")
    if stage not in (None, "documents") and api_server is not None:
        raise click.UsageError(f"{stage} does not run on Spark: --spark-submit is for the stage documents")


def _objects(part: str, recipe: Recipe, step: int | None, stage: str | None) -> list[dict[str, Any]]:
    from headwater.k8s import data_stages, evaluation, namespace, train

    if part == "train":
        return train.render(recipe)
    if part == "data":
        return data_stages.render(recipe, stage or data_stages.DEFAULT)
    if part == "eval":
        return evaluation.render(recipe) if step is None else evaluation.render_step(recipe, step)
    return namespace.render(recipe.cluster) if part == "namespace" else namespace.render_cluster(recipe.cluster)
