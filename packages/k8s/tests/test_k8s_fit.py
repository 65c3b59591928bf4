"""What cannot run is refused before anything is sent, with what was found, what was expected and what to do."""

from __future__ import annotations

import pytest
from rendered import RECIPE, render

from headwater.core.config import load_section
from headwater.core.errors import ConfigError
from headwater.k8s.config import Cluster
from headwater.k8s.fit import require_fit
from headwater.k8s.quantities import gib, value_of
from headwater.train.config import TrainConfig
from headwater.train.plan.memory import memory_per_gpu
from headwater.train.plan.recipe import job_of_config
from headwater.train.plan.search import USABLE


def train(*overrides: str) -> TrainConfig:
    return load_section("train", TrainConfig, RECIPE, overrides)


REFUSED = {
    "degrees of half the world": (
        ("cluster.nodes=4",),
        "degrees of train.parallel do not multiply",
        "= 64",
        "set cluster.nodes=8",
    ),
    "degrees that no number of nodes has": (
        ("train.parallel.dp_shard=12", "train.global_batch=480"),
        "do not multiply",
        "= 12",
        "dp_shard=64",
    ),
    "a batch beyond the GPUs' memory": (
        ("train.micro_batch=8",),
        "does not fit into the GPUs' memory",
        "6.74 billion parameters",
        "lower train.micro_batch",
    ),
    "a model that nothing shards": (
        ("cluster.nodes=1", "train.parallel.dp_shard=1", "train.parallel.dp_replicate=8"),
        "does not fit into the GPUs' memory",
        "weights, gradients and optimizer state 100.4 GiB",
        "shard more",
    ),
    "too little host memory for the copy of a checkpoint": (
        ("cluster.resources.memory=96Gi",),
        "host memory",
        "shared memory of 64.0 GiB",
        "raise cluster.resources.memory",
    ),
    "a grace period shorter than a checkpoint takes": (
        ("cluster.storage.write_rate=200Mi",),
        "grace period is too short",
        "grace_seconds 300",
        "set cluster.grace_seconds=480",
    ),
    "a CPU's recipe on GPUs": (
        ("train.device=cpu",),
        "to run on a CPU and its pods have GPUs",
        "train.device: cpu",
        "set train.device=cuda",
    ),
    "a GPU's recipe on CPUs": (
        ("cluster.cpu_only=true", "train.device=cuda"),
        "to run on GPUs and its pods have none",
        "cpu_only",
        "set train.device=cpu",
    ),
    "state off the GPUs of pods that have none": (
        ("cluster.cpu_only=true", "train.offload=optimizer"),
        "to keep state off its GPUs and its pods have none",
        "train.offload: optimizer",
        "set train.offload=none",
    ),
    "samples that context parallelism cannot cut": (
        ("train.parallel.dp_shard=32", "train.parallel.cp=2", "train.seq_len=4032"),
        "seq_len does not fit train.parallel.cp",
        "4032",
        None,
    ),
    "a misspelt key": (("cluster.node=8",), "unknown key cluster.node", None, "did you mean nodes"),
    "a misspelt key further in": (
        ("cluster.storage.clam=x",),
        "unknown key cluster.storage.clam",
        None,
        "did you mean claim",
    ),
    "gigabytes in the decimal of another tool": (
        ("cluster.resources.memory=64GB",),
        "cluster.resources.memory is not valid",
        "64GB",
        "write G or Gi for GB",
    ),
    "bytes in thousandths": (
        ("cluster.shared_memory=512m",),
        "cluster.shared_memory is not valid",
        "512m",
        "write 512Mi",
    ),
    "no quantity": (("cluster.resources.cpu=many",), "cluster.resources.cpu is not valid", "many", None),
    "no memory at all": (("cluster.gpu.memory=0",), "cluster.gpu.memory is not valid", "0", None),
    "an image that changes": (
        ("cluster.images.train=headwater/train:latest",),
        "cluster.images.train is not valid",
        "latest",
        "headwater/train:VERSION",
    ),
    "a namespace that is no name": (("cluster.namespace=Team_A",), "cluster.namespace is not valid", "Team_A", None),
    "several nodes on a disk of one": (
        ("cluster.storage.access=ReadWriteOnce",),
        "cluster is not valid",
        None,
        "several nodes can mount",
    ),
    "two gangs": (("cluster.gang=coscheduling",), "cluster is not valid", None, "take gang out"),
    "a shared runtime for a JobSet": (
        ("cluster.kind=jobset", "cluster.runtime=ClusterTrainingRuntime"),
        "cluster is not valid",
        None,
        None,
    ),
    "an unknown kind": (("cluster.kind=deployment",), "cluster.kind is not valid", "deployment", None),
    "an adapter without RDMA": (("cluster.network.rdma=null",), "cluster.network is not valid", None, "network.rdma"),
    "a variable of the launcher": (
        ("cluster.network.env={RANK: '0'}",),
        "cluster.network.env is not valid",
        "RANK",
        "take it out",
    ),
    "a bucket without a scheme": (
        ("cluster.storage.mirror=models/headwater",),
        "cluster.storage.mirror is not valid",
        "models/headwater",
        None,
    ),
    "an hour that is none": (("cluster.eval.schedule=hourly",), "cluster.eval.schedule is not valid", "hourly", None),
    "Spark of another age": (("cluster.spark.version=3.5.1",), "cluster.spark.version is not valid", "3.5.1", None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_advice(name):
    overrides, said, found, hint = REFUSED[name]
    with pytest.raises(ConfigError) as raised:
        render("train", overrides)
    error = raised.value
    assert said in error.message
    assert found is None or found in str(error.found)
    assert hint is None or hint in str(error.hint)
    assert error.exit_code == 2


@pytest.mark.parametrize("part", ["data", "eval", "data items", "data tokens", "data line"])
def test_a_recipe_without_the_part_is_refused(part, tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: bare\n")
    with pytest.raises(ConfigError, match="has no section"):
        render(part, recipe=tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("part", "overrides", "said", "hint"),
    [
        ("data", ("documents.engine.name=beam",), "on Spark or in one pod", "engine.name=spark"),
        ("data line", (), "need documents on the local engine", "--stage items, --stage collect"),
        ("data items", ("eval.hub=true",), "have no network", "cluster.eval.data_dir"),
    ],
)
def test_a_data_stage_that_cannot_run_there_is_refused(part, overrides, said, hint):
    with pytest.raises(ConfigError) as raised:
        render(part, overrides)
    assert said in raised.value.message and hint in str(raised.value.hint)


def test_a_name_that_no_object_can_have_is_refused_with_one_that_can(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: Llama_7B!\n")
    with pytest.raises(ConfigError, match="cannot name objects") as raised:
        render("train", recipe=tmp_path / "recipe.yaml")
    assert "llama-7b" in str(raised.value.hint)


def test_the_size_of_the_vocabulary_has_to_be_known(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: bare\ncluster: {gpus_per_node: 1}\ntrain: {device: cuda}\n")
    with pytest.raises(ConfigError, match="size of the vocabulary is not known"):
        render("train", recipe=tmp_path / "recipe.yaml")


def test_the_gate_needs_another_run(tmp_path):
    with pytest.raises(ConfigError, match="baseline is the run itself"):
        render("eval", ("cluster.eval.baseline=llama-7b",))


def test_evaluations_without_a_network_cannot_ask_the_hub():
    with pytest.raises(ConfigError, match="have no network"):
        render("eval", ("eval.hub=true",))


def test_tensor_parallelism_across_nodes_is_warned_of(capsys):
    render("train", ("train.parallel.tp=16", "train.parallel.dp_shard=4"))
    assert "tensor parallelism would cross nodes" in " ".join(capsys.readouterr().err.split())


def test_what_is_refused_is_what_the_planner_would_refuse():
    """One estimate: a GPU that has room for it takes the training, and one with a little less does not."""
    memory = memory_per_gpu(job_of_config(train(), 32000))
    needed = int(memory.total / USABLE / 2**20)
    assert render("train", (f"cluster.gpu.memory={needed + 1}Mi",))
    with pytest.raises(ConfigError, match="does not fit into the GPUs' memory") as raised:
        render("train", (f"cluster.gpu.memory={needed - 1}Mi",))
    assert gib(memory.total) in str(raised.value.found)


def test_what_is_computed_again_takes_no_memory():
    with pytest.raises(ConfigError) as raised:
        render("train", ("train.micro_batch=8",))
    assert "train.activation_checkpointing=full" in str(raised.value.hint)
    assert render("train", ("train.micro_batch=8", "train.activation_checkpointing=full"))


def test_a_background_checkpoint_is_held_in_host_memory(tmp_path):
    """80.3 GB of weights and moments on each of 8 processes that nothing shards."""
    without = ("cluster.nodes=1", "train.parallel.dp_shard=1", "train.parallel.dp_replicate=8",
               "cluster.gpu.memory=192Gi", "cluster.resources.memory=400Gi")  # fmt: skip
    assert render("train", (*without, "train.checkpoint.background=false"))
    with pytest.raises(ConfigError, match="host memory") as raised:
        render("train", (*without, "train.checkpoint.background=true"))
    assert "8 processes of 81.3 GiB" in str(raised.value.found)


def test_cpus_have_to_hold_what_gpus_would():
    cluster = Cluster.model_validate({
        "cpu_only": True, "gpus_per_node": 2, "resources": {"cpu": 2, "memory": "8Gi"}, "shared_memory": "1Gi",
    })  # fmt: skip
    with pytest.raises(ConfigError, match="host memory"):
        require_fit(TrainConfig.model_validate({"parallel": {"dp_shard": 2}}), cluster, 1000)


@pytest.mark.parametrize(
    ("quantity", "value"), [("8", 8), ("500m", 0.5), ("64Gi", 2**36), ("1.5T", 1.5e12), ("2Ki", 2048)]
)
def test_quantities_are_kubernetes_own(quantity, value):
    assert float(value_of(quantity)) == value
