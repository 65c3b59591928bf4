"""What the tests render: every part of the 7B recipe, in every way that changes the manifests."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

from headwater.k8s import data_stages, evaluation, namespace, train
from headwater.k8s.recipes import Recipe

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "llama-7b.yaml"

NO_QUEUE = ("cluster.queue=null", "cluster.topology=null")

CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "namespace": ("namespace", ()),
    "namespace without Kueue and monitoring": ("namespace", (*NO_QUEUE, "cluster.monitoring=false")),
    "cluster": ("cluster", ("cluster.runtime=ClusterTrainingRuntime",)),
    "cluster without topology": ("cluster", ("cluster.topology=null", "cluster.network={}")),
    "trainjob": ("train", ()),
    "trainjob of the shared runtime": ("train", ("cluster.runtime=ClusterTrainingRuntime",)),
    "trainjob, coscheduling": (
        "train",
        (
            "cluster.queue=null",
            "cluster.gang=coscheduling",
            "cluster.deadline_seconds=90000",
            "cluster.gpu.runtime_class=nvidia",
        ),
    ),
    "jobset": ("train", ("cluster.kind=jobset",)),
    "jobset, coscheduling": (
        "train",
        (
            "cluster.kind=jobset",
            "cluster.queue=null",
            "cluster.gang=coscheduling",
            "cluster.scheduler=gangs",
            "cluster.deadline_seconds=90000",
        ),
    ),
    "jobset, one node, TCP": (
        "train",
        (
            "cluster.kind=jobset",
            "cluster.nodes=1",
            "train.parallel.dp_shard=8",
            "cluster.network={}",
            "cluster.evictable=true",
            *NO_QUEUE,
        ),
    ),
    "pytorchjob": ("train", ("cluster.kind=pytorchjob",)),
    "pytorchjob, coscheduling": (
        "train",
        ("cluster.kind=pytorchjob", "cluster.queue=null", "cluster.gang=coscheduling"),
    ),
    "data": ("data", ()),
    "data, items": ("data items", ()),
    "data, collect": ("data collect", ("sources.web={kind: crawl, seeds: ['https://docs.example.org/']}",)),
    "data, documents in one pod": ("data", ("documents.engine.name=local",)),
    "data, tokenizer": ("data tokenizer", ()),
    "data, tokens": ("data tokens", NO_QUEUE),
    "data, the line in one pod": ("data line", ("documents.engine.name=local",)),
    "eval": ("eval", ()),
    "eval without GPU and gate": ("eval", ("cluster.eval.gpus=0", "cluster.eval.baseline=null", *NO_QUEUE)),
}


def render(part: str, overrides: tuple[str, ...] = (), recipe: Path = RECIPE) -> list[dict[str, Any]]:
    read = Recipe(recipe, overrides)
    if part == "namespace":
        return namespace.render(read.cluster)
    if part == "cluster":
        return namespace.render_cluster(read.cluster)
    part, _, stage = part.partition(" ")
    if part == "data":
        return data_stages.render(read, stage or "documents")
    return {"train": train.render, "eval": evaluation.render}[part](read)


def case(name: str) -> list[dict[str, Any]]:
    return copy.deepcopy(_case(name))


@cache
def _case(name: str) -> list[dict[str, Any]]:
    return render(*CASES[name])


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(each for each in objects if each["kind"] == kind)


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Every pod specification in a manifest."""
    found: list[dict[str, Any]] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if "containers" in value and "securityContext" in value:
                found.append(value)
            for part in value.values():
                look(part)
        elif isinstance(value, list):
            for part in value:
                look(part)

    look(manifest)
    return found
